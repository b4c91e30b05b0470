"""`python -m refdiff train` and `python -m refdiff sample`: parsing only."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal, get_type_hints

if __name__ == "__main__":
    # Before the imports below, which take seconds.
    from refdiff.training.interrupts import leave_at_once

    leave_at_once()

import tyro
from tyro.constructors import ConstructorRegistry, StructConstructorSpec, StructFieldSpec, StructTypeInfo

from refdiff.errors import ConfigError, RefdiffError, plain
from refdiff.samplers import Rule
from refdiff.sampling import RENAMED, checked_rule
from refdiff.training import arguments, checkpoint, files, generate, interrupts, plugins
from refdiff.training.config import Config
from refdiff.training.errors import PeerError
from refdiff.training.generate import Trained
from refdiff.training.launch import failed_before, tell_torchrun
from refdiff.training.parsing import from_mapping, present_name, read, setting_docs, setting_types, to_mapping
from refdiff.training.run import train

DOES = "Train diffusion models and sample from them."


@dataclass(frozen=True, slots=True)
class Settings:
    """Values of the options of `Config`, not checked yet."""

    plain: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Train:
    """Train a diffusion model; writes weights, checkpoints, metrics and sample pictures to a folder."""

    out: Path
    """Output folder."""
    config: Path | None = None
    """TOML file of settings; options on the command line override it."""
    resume: bool = False
    """Continue from the newest checkpoint in the output folder that loads."""
    denoiser: str | None = None
    """Your own network, as package.module:function, which builds it from the shape of one example."""
    features: str | None = None
    """Feature extractor of the Frechet distance, as package.module:function; by default raw pixels."""
    settings: Annotated[Settings, tyro.conf.arg(name="")]

    def __call__(self) -> int:
        """Train, and return the exit status. Raises RefdiffError."""
        config = from_mapping(self.settings.plain)
        features = plugins.features(self.features) if self.features is not None else None
        denoiser = plugins.denoiser(self.denoiser) if self.denoiser is not None else None
        ended = train(config, self.out, resume=self.resume, denoiser=denoiser, features=features).end
        return interrupts.INTERRUPTED if ended == "interrupted" and signal.SIGINT in interrupts.received else 0

    def saved(self) -> str:
        """Return what an interrupted run left, as a clause of a sentence."""
        paths = checkpoint.listed(self.out)
        return f"the newest checkpoint is {paths[0]}; continue with --resume" if paths else "nothing was saved"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """Sample from a trained model; writes samples.npy, float32 in [-1, 1], samples.png, and labels.npy if asked."""

    checkpoint: Path
    """Output folder of a training run, or a .safetensors file."""
    out: Path
    """Output folder."""
    num: int = 64
    """Number of samples; with labels, of each class."""
    labels: tuple[str, ...] = ()
    """With labels: classes to sample, by name or number, or all; by default no class in particular."""
    guidance: float = 1.0
    """With labels: 1 samples the conditional distribution, and more moves samples towards the class."""
    seed: int = 0
    """Random seed."""
    sampler: Rule = "ddim"
    """Sampler."""
    steps: int = 50
    """Number of sampling steps."""
    device: str = "auto"
    """cpu, cuda, ...; auto uses cuda if available, else cpu. The noise of a seed differs between devices."""
    weights: Literal["ema", "model"] = "ema"
    """Weights to load from a folder: the EMA (ema), or those of the last step (model)."""
    overwrite: bool = False
    """Replace samples that are in the output folder."""
    denoiser: str | None = None
    """Your own network, as package.module:function, if the model was trained with one."""

    def __call__(self) -> int:
        """Sample, and return the exit status. Raises RefdiffError."""
        path = self.checkpoint / f"{self.weights}.safetensors" if files.is_folder(self.checkpoint) else self.checkpoint
        own = plugins.denoiser(self.denoiser) if self.denoiser is not None else None
        trained = Trained(path, own, self.device)
        if not self.overwrite:
            generate.check_output(self.out)  # before the time that sampling takes
        made = trained.samples(
            self.num,
            seed=self.seed,
            sampler=self.sampler,
            steps=self.steps,
            labels=self.labels,
            guidance=self.guidance,
        )
        label = trained.label(self.num, self.labels) if self.labels else None
        generate.write(self.out, made, label, overwrite=self.overwrite)
        return 0

    def saved(self) -> str:
        """Return what an interrupted command left, as a clause of a sentence."""
        return "the samples may not be complete" if (self.out / "samples.npy").exists() else "nothing was saved"


def _plain_settings() -> ConstructorRegistry:
    """Return tyro's rule for tables of settings: plain values, which `from_mapping` checks outside of tyro."""
    registry = ConstructorRegistry()

    def rule(info: StructTypeInfo) -> StructConstructorSpec | None:
        if info.type is Settings:
            return StructConstructorSpec(lambda **plain: Settings(plain), _fields(Config, info.default.plain))
        if info.type in setting_types(Config).values():
            return StructConstructorSpec(dict, _fields(info.type, to_mapping(info.default)))
        return None

    registry.struct_rule(rule)
    return registry


def _fields(table: Any, defaults: Mapping[str, Any]) -> tuple[StructFieldSpec, ...]:
    docs = setting_docs(table)
    return tuple(StructFieldSpec(name, kind, defaults[name], docs[name]) for name, kind in setting_types(table).items())


def _refuse_former_names(command: str, argv: Sequence[str]) -> None:
    """Raise ConfigError for an option given by its former name, DomainError for such a sampler."""
    for option, following in pairwise([*argv, ""]):
        given, equals, value = option.partition("=")
        name = given.removeprefix("--").replace("-", "_").replace(".no_", ".")
        new = present_name(name) if command == "train" else {"rule": "sampler", "walk": "steps"}.get(name)
        if given.startswith("--") and new:
            raise ConfigError(f"expected --{new.replace('_', '-')}, got its former name {given} (TRN-8)")
        if name in ("sampler", "monitor.sampler") and (value if equals else following) in RENAMED:
            checked_rule(value if equals else following)


def _check_arguments(command: str, argv: Sequence[str]) -> None:
    """Raise ConfigError for a command, an option or a value that tyro would explain in a box of its own."""
    if command not in _COMMANDS:
        raise ConfigError(f"expected train or sample as the command (see --help), got {command or 'none'} (TRN-8)")
    own = get_type_hints(_COMMANDS[command])
    options = {name.replace("_", "-"): kind for name, kind in own.items() if name != "settings"}
    required = [name for name in ("checkpoint", "out") if name in options]
    if command == "train":
        options |= arguments.options_of(Config)
    arguments.check(argv, options, required)


def _parse(argv: Sequence[str]) -> Train | Sample:
    """Return the command. Raises RefdiffError for what is wrong on the command line or in the config file."""
    command = argv[0] if argv else ""
    if not {"-h", "--help"} & set(argv):
        _refuse_former_names(command, argv[1:])
        _check_arguments(command, argv[1:])
    named = [following for option, following in pairwise([*argv, ""]) if option == "--config"]
    named += [option.partition("=")[2] for option in argv if option.startswith("--config=")]
    config = read(Path(named[-1])) if named and named[-1] and command == "train" else Config()
    # tyro takes the defaults of a table from an instance of it.
    settings = Settings({name: getattr(config, name) for name in setting_types(Config)})
    default = Train(out=tyro.MISSING, settings=settings)
    commands: Any = (
        Annotated[Train, tyro.conf.subcommand("train", default=default)]
        | Annotated[Sample, tyro.conf.subcommand("sample")]
    )
    parsed: Train | Sample = tyro.cli(commands, args=argv, prog="refdiff", description=DOES, registry=_plain_settings())
    return parsed


_COMMANDS: Mapping[str, type[Train | Sample]] = {"train": Train, "sample": Sample}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command.

    Returns 0; 2 after a one-line message on stderr for an error that the user can correct; 130 after Ctrl-C.
    """
    command: Train | Sample | None = None
    try:
        command = _parse(list(sys.argv[1:] if arguments is None else arguments))
        return command()
    except RefdiffError as error:
        # Of several processes, the first that fails says why.
        if not isinstance(error, PeerError) and not failed_before(str(error)):
            print(f"refdiff: {plain(str(error))}", file=sys.stderr)
        tell_torchrun(error)
        return 2
    except KeyboardInterrupt:
        saved = command.saved() if command else "nothing was saved"
        print(f"refdiff: interrupted; {plain(saved)}", file=sys.stderr)
        return interrupts.INTERRUPTED


def _run() -> int:
    """Run the command of this process: its output may be cut off by a pipe, and Ctrl-C may come at any time."""
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        try:
            return main()
        finally:
            signal.signal(signal.SIGINT, signal.SIG_IGN)  # nothing is left to interrupt
            sys.stdout.flush()
    except BrokenPipeError:
        # Whoever read the output is gone; the flush at exit would fail again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + signal.SIGPIPE


if __name__ == "__main__":
    sys.exit(_run())
