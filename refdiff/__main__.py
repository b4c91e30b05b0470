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
from refdiff.sampling import RENAMED, Rule, checked_rule
from refdiff.training import generate
from refdiff.training.config import Config, read
from refdiff.training.generate import Trained
from refdiff.training.run import train

DOES = "Train diffusion models and sample from them."


@dataclass(frozen=True, slots=True, kw_only=True)
class Train:
    """Train a network; leaves weights, checkpoints, metrics and pictures in a folder."""

    out: Path
    """The folder."""
    config: Path | None = None
    """A TOML file of settings; the command line comes on top of it."""
    resume: bool = False
    """Go on from the newest good checkpoint in the folder."""
    denoiser: str | None = None
    """package.module:function that makes another network than the U-Net, from the shape of one example."""
    features: str | None = None
    """package.module:function that makes what the Frechet distance looks at."""
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
    """Draw samples of a trained network: samples.npy, float32 in [-1, 1], and samples.png."""

    checkpoint: Path
    """The folder of a run, or a .safetensors file."""
    out: Path
    """The folder for the samples."""
    num: int = 64
    """How many."""
    seed: int = 0
    """Decides the noise."""
    rule: Rule = "ddim"
    """How a step is taken."""
    walk: int = 50
    """Steps."""
    weights: Literal["ema", "model"] = "ema"
    """Of a folder: the average, or the last weights."""
    denoiser: str | None = None
    """package.module:function that makes the network, if it is not the U-Net."""

    def __call__(self) -> None:
        """Sample."""
        path = self.checkpoint / f"{self.weights}.safetensors" if self.checkpoint.is_dir() else self.checkpoint
        trained = Trained(path, _named(self.denoiser))
        generate.write(self.out, trained.samples(self.num, seed=self.seed, rule=self.rule, walk=self.walk))


def _named(name: str | None) -> Any:
    """Return what package.module:function names."""
    if name is None:
        return None
    module, _, function = name.partition(":")
    try:
        found = getattr(import_module(module), function)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigError(f"expected package.module:function, got {name}: {error} (TRN-8)") from None
    if not callable(found):
        raise ConfigError(f"expected package.module:function, got {name}, which is no function (TRN-8)")
    return found


def _parsed(commands: Any, argv: list[str]) -> Any:
    """Return the command. What refdiff refuses tyro would show in a box, with names that are its own."""
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
    """Run a command; 2 with one sentence on stderr for what a person can mend."""
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
