"""Write an adapter to start from: `python -m refdiff.conformance.new mylib`.

It asks what the library has, or takes it from options. Every method of the adapter refuses its calls until it is
filled in, so that the first run fails and says which.
"""

from __future__ import annotations

import argparse
import keyword
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import final, get_args

from refdiff.conformance.files import create_file
from refdiff.conformance.interface import METHODS, DType
from refdiff.errors import ConfigError

FRAMEWORKS = ("numpy", "torch", "jax")
PROCESSES = {
    "linear": "Linear(beta_min=0.1, beta_max=20.0)",
    "cosine": "Cosine(s=0.008)",
    "chain": "Chain.linear(1000, beta_start=1e-4, beta_end=0.02)",
    "own": 'Own(label="own")',
    "none": "NoProcess()",
}
"""Processes by the name that the command takes, as the claim writes them."""
_TEMPLATE = Path(__file__).with_name("adapter.py.jinja")


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Library:
    """What an adapter is written for."""

    name: str
    """Name of the module that is imported."""
    framework: str
    dtype: str
    capabilities: tuple[str, ...]
    process: str
    """A key of PROCESSES."""

    def __post_init__(self) -> None:
        """Raise ConfigError for a name that no module can have, and for what the contract does not know."""
        if not self.name.isidentifier() or keyword.iskeyword(self.name):
            raise ConfigError(f"expected the name of a module, got {self.name!r}")
        chosen = (
            ("framework", self.framework, FRAMEWORKS),
            ("dtype", self.dtype, get_args(DType)),
            ("process", self.process, tuple(PROCESSES)),
            *(("capability", capability, tuple(METHODS)) for capability in self.capabilities),
        )
        for what, value, known in chosen:
            if value not in known:
                raise ConfigError(f"expected {what} as one of {', '.join(known)}, got {value!r}")
        if not self.capabilities:
            raise ConfigError(f"expected at least one capability of {', '.join(METHODS)}, got none")

    def adapter(self) -> str:
        """Return the text of the adapter. Raises ConfigError without Jinja2."""
        try:
            from jinja2 import Environment, StrictUndefined
        except ModuleNotFoundError:
            raise ConfigError("expected Jinja2, to write an adapter: pip install 'refdiff[judge]', got none") from None
        made = Environment(  # noqa: S701  # Python is written, and no HTML
            trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True, undefined=StrictUndefined
        ).from_string(_TEMPLATE.read_text(encoding="utf-8"))
        expression = PROCESSES[self.process]
        names = {"Claim", "Unsupported", expression.partition("(")[0].partition(".")[0]}
        if "step" in self.capabilities:
            names.add("Step")
        if "sample" in self.capabilities:
            names.add("Sampler")
        order = [capability for capability in METHODS if capability in self.capabilities]
        return made.render(library=self, process=expression, names=sorted(names), capabilities=order)


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the adapter. Return 1, with one sentence, if it cannot be written."""
    parser = _parser()
    given = parser.parse_args(arguments)
    try:
        if not sys.stdin.isatty() and not (given.has and given.process):
            raise ConfigError("expected --has and --process, as there is no terminal to ask in, got neither or one")
        library = Library(
            name=given.name,
            framework=given.framework or _asked("Framework of its arrays", FRAMEWORKS, "numpy"),
            dtype=given.dtype or _asked("Dtype to judge it in", get_args(DType), "float32"),
            process=given.process or _asked("Noise process", tuple(PROCESSES), "linear"),
            capabilities=tuple((given.has or _asked("What it has, with commas", tuple(METHODS), "perturb")).split(",")),
        )
        path = given.out or Path(f"{library.name}_refdiff.py")
        _write(path, library.adapter())
    except ConfigError as error:
        print(f"{parser.prog}: {error}", file=sys.stderr)
        return 1
    print(f"wrote {path}: fill in its methods, and run, in its folder,")
    print(f"  python -m pytest --pyargs refdiff_validation --refdiff-target {path.stem}:Target")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m refdiff.conformance.new", description=__doc__)
    parser.add_argument("name", help="the module of the library, such as mylib")
    parser.add_argument("--has", metavar="perturb,loss", help=f"what the library has, of {', '.join(METHODS)}")
    parser.add_argument("--process", metavar="NAME", help=f"its noise process: {', '.join(PROCESSES)}")
    parser.add_argument("--framework", metavar="NAME", help=f"its arrays: {', '.join(FRAMEWORKS)}")
    parser.add_argument("--dtype", metavar="NAME", help=f"the dtype to judge it in: {', '.join(get_args(DType))}")
    parser.add_argument("--out", metavar="FILE", type=Path, help="the adapter; by default NAME_refdiff.py here")
    return parser


def _asked(question: str, known: Sequence[str], default: str) -> str:
    """Return the answer of the person at the terminal; where there is none, the default."""
    if not sys.stdin.isatty():
        return default
    return input(f"{question} ({', '.join(known)}) [{default}]: ").strip() or default


def _write(path: Path, text: str) -> None:
    try:
        create_file(path, text)
    except OSError as error:
        need = "expected a new file for the adapter: delete it, or name another by --out;"
        raise ConfigError(f"{need} got {path} ({error.strerror})") from None


if __name__ == "__main__":
    sys.exit(main())
