"""`python -m refdiff train` and `python -m refdiff sample`: parsing only."""

from __future__ import annotations

import argparse
import io
import sys
from collections.abc import Sequence
from contextlib import redirect_stderr
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from refdiff.errors import ConfigError, RefdiffError
from refdiff.samplers import Rule
from refdiff.sampling import RENAMED, checked_rule
from refdiff.training import generate
from refdiff.training.config import Config, read
from refdiff.training.generate import Trained
from refdiff.training.run import train

DOES = "Train diffusion models and sample from them."


@dataclass(frozen=True, slots=True, kw_only=True)
class Train:
    """Train a network and write weights, checkpoints, metrics and pictures to a folder."""

    out: Path
    """Output folder."""
    config: Path | None = None
    """TOML file of settings; options on the command line override it."""
    resume: bool = False
    """Continue from the newest checkpoint in the folder that loads."""
    denoiser: str | None = None
    """package.module:function that builds the network from the shape of one example, in place of the U-Net."""
    features: str | None = None
    """package.module:function that builds the feature extractor of the Frechet distance."""
    settings: Annotated[Config, tyro.conf.arg(name="")] = field(default_factory=Config)

    def __call__(self) -> None:
        """Train."""
        made = _named(self.features)
        train(
            self.settings,
            self.out,
            resume=self.resume,
            denoiser=_named(self.denoiser),
            features=made() if made else None,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """Sample from a trained network; writes samples.npy, float32 in [-1, 1], and samples.png."""

    checkpoint: Path
    """Folder of a run, or a .safetensors file."""
    out: Path
    """Output folder."""
    num: int = 64
    """Number of samples."""
    seed: int = 0
    """Random seed."""
    rule: Rule = "ddim"
    """Sampler."""
    walk: int = 50
    """Number of sampling steps."""
    weights: Literal["ema", "model"] = "ema"
    """Weights to load from a folder: the moving average (ema), or those of the last step (model)."""
    denoiser: str | None = None
    """package.module:function that builds the network, if it is not the U-Net."""

    def __call__(self) -> None:
        """Sample."""
        path = self.checkpoint / f"{self.weights}.safetensors" if self.checkpoint.is_dir() else self.checkpoint
        trained = Trained(path, _named(self.denoiser))
        generate.write(self.out, trained.samples(self.num, seed=self.seed, rule=self.rule, walk=self.walk))


def _named(name: str | None) -> Any:
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


def _parsed(commands: Any, argv: list[str]) -> Any:
    """Return the parsed command. Raises the RefdiffError itself where tyro would print it in a box."""
    said = io.StringIO()
    try:
        with redirect_stderr(said):
            return tyro.cli(commands, args=argv, prog="refdiff", description=DOES)
    except SystemExit as end:
        cause = end.__context__
        while cause and not isinstance(cause, RefdiffError):
            cause = cause.__context__
        if cause:
            raise cause from None
        raise
    finally:
        if not isinstance(sys.exception(), RefdiffError):
            sys.stderr.write(said.getvalue())


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command. Returns 0, or 2 after a one-line message on stderr for an error that the user can correct."""
    argv = list(sys.argv[1:] if arguments is None else arguments)
    early = argparse.ArgumentParser(prog="refdiff", add_help=False, allow_abbrev=False)
    early.add_argument("--config", type=Path, nargs="?")
    early.add_argument("--rule", "--monitor.rule", nargs="?")
    try:
        known = early.parse_known_args(argv)[0]
        named = known.config
        if known.rule in RENAMED:
            checked_rule(known.rule)
        settings = read(named) if named and argv[:1] == ["train"] else Config()
        commands = Annotated[Train, tyro.conf.subcommand("train", default=Train(out=tyro.MISSING, settings=settings))]
        command: Train | Sample = _parsed(commands | Annotated[Sample, tyro.conf.subcommand("sample")], argv)
        command()
    except RefdiffError as error:
        print(f"refdiff: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
