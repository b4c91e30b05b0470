"""`python -m refdiff train` and `python -m refdiff sample`: parsing only."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro
from tyro.constructors import ConstructorRegistry, StructConstructorSpec, StructFieldSpec, StructTypeInfo

from refdiff.errors import ConfigError, RefdiffError
from refdiff.samplers import Rule
from refdiff.sampling import RENAMED, checked_rule
from refdiff.training import generate
from refdiff.training.config import Config
from refdiff.training.generate import Trained
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

    def __call__(self) -> None:
        """Train. Raises RefdiffError."""
        config = from_mapping(self.settings.plain)
        make_features = _import(self.features)
        features = make_features() if make_features else None
        train(config, self.out, resume=self.resume, denoiser=_import(self.denoiser), features=features)


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
    weights: Literal["ema", "model"] = "ema"
    """Weights to load from a folder: the EMA (ema), or those of the last step (model)."""
    denoiser: str | None = None
    """Your own network, as package.module:function, if the model was trained with one."""

    def __call__(self) -> None:
        """Sample. Raises RefdiffError."""
        path = self.checkpoint / f"{self.weights}.safetensors" if self.checkpoint.is_dir() else self.checkpoint
        trained = Trained(path, _import(self.denoiser))
        made = trained.samples(
            self.num,
            seed=self.seed,
            sampler=self.sampler,
            steps=self.steps,
            labels=self.labels,
            guidance=self.guidance,
        )
        generate.write(self.out, made, trained.label(self.num, self.labels) if self.labels else None)


def _import(name: str | None) -> Any:
    """Import and return package.module:function. Raises ConfigError if it cannot be imported or called."""
    if name is None:
        return None
    module, _, function = name.partition(":")
    try:
        found = getattr(import_module(module), function)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigError(f"expected package.module:function, got {name}: {error} (TRN-8)") from None
    if not callable(found):
        raise ConfigError(f"expected package.module:function, got {name}, which is not callable (TRN-8)")
    return found


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


def _parse(argv: Sequence[str]) -> Train | Sample:
    """Return the command. Raises RefdiffError for former names and for a config file that is wrong."""
    early = argparse.ArgumentParser(prog="refdiff", add_help=False, allow_abbrev=False)
    early.add_argument("--config", type=Path, nargs="?")
    command = argv[0] if argv else ""
    _refuse_former_names(command, argv[1:])
    named = early.parse_known_args(argv)[0].config
    config = read(named) if named and command == "train" else Config()
    # tyro takes the defaults of a table from an instance of it.
    settings = Settings({name: getattr(config, name) for name in setting_types(Config)})
    default = Train(out=tyro.MISSING, settings=settings)
    commands: Any = (
        Annotated[Train, tyro.conf.subcommand("train", default=default)]
        | Annotated[Sample, tyro.conf.subcommand("sample")]
    )
    parsed: Train | Sample = tyro.cli(commands, args=argv, prog="refdiff", description=DOES, registry=_plain_settings())
    return parsed


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command. Returns 0, or 2 after a one-line message on stderr for an error that the user can correct."""
    try:
        _parse(list(sys.argv[1:] if arguments is None else arguments))()
    except RefdiffError as error:
        print(f"refdiff: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
