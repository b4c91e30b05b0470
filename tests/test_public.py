"""The public surface: what `import refdiff` gives, and what it does not bring along."""

from __future__ import annotations

import ast
import doctest
import inspect
import subprocess
import sys
from importlib import import_module
from math import nan
from pathlib import Path

import pytest
import torch

import refdiff
from refdiff import CosineSchedule, DomainError, LinearSchedule

_PACKAGE = Path(refdiff.__file__).parent


def _typed() -> dict[str, str]:
    """Return name: module of the imports that a type checker sees."""
    tree = ast.parse((_PACKAGE / "__init__.py").read_text(encoding="utf-8"))
    (block,) = (node for node in tree.body if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING")
    imports = [node for node in block.body if isinstance(node, ast.ImportFrom)]
    assert len(imports) == len(block.body)
    for node in imports:
        for alias in node.names:
            assert alias.asname == alias.name, f"`X as X` is what exports: {alias.name}"
    return {alias.name: str(node.module) for node in imports for alias in node.names}


def test_lazy_names_are_the_names_that_a_type_checker_sees() -> None:
    """The table of homes and the imports under TYPE_CHECKING are one list."""
    assert {name: f"refdiff.{home}" for name, home in refdiff._HOMES.items()} == _typed()


@pytest.mark.parametrize("name", sorted(refdiff._HOMES))
def test_each_lazy_name_is_the_object_of_its_module(name: str) -> None:
    """`refdiff.x` is `refdiff.home.x`, listed by dir, and its module says it is at home there."""
    value = getattr(refdiff, name)
    assert value is getattr(import_module(_typed()[name]), name)
    assert name in dir(refdiff)
    assert value.__module__ == _typed()[name]


@pytest.mark.parametrize("name", ["nothing", "score", "flow", "diffusion", "average", "Uniform", "veltkamp_split"])
def test_a_name_that_is_not_public_is_an_attribute_error(name: str) -> None:
    """As of any module, so that hasattr and copy work; names that say too little outside their module are not there."""
    with pytest.raises(AttributeError, match=f"module 'refdiff' has no attribute '{name}'"):
        getattr(refdiff, name)


WITHOUT_EXAMPLE = ("Config", "train")
"""Names of the trainer, whose example writes files: the guide has it, and tests/test_docs.py runs it."""


@pytest.mark.usefixtures("unhooked")
@pytest.mark.parametrize("name", sorted(set(refdiff._HOMES) - set(WITHOUT_EXAMPLE)))
def test_the_example_of_each_public_name_is_true(name: str) -> None:
    """The docstring has an example, which names what it shows, and prints what it says."""
    text = getattr(refdiff, name).__doc__ or ""
    example = doctest.DocTestParser().get_doctest(text, {}, name, None, None)
    assert name in "".join(step.source + step.want for step in example.examples)
    said: list[str] = []
    doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE).run(example, out=said.append)
    assert not said, "".join(said)


HOMES = ("chain", "derived", "marginal", "samplers", "sampling", "schedule", "sde", "steps", "variational")


def _of_two_times() -> list[tuple[str, inspect.Signature]]:
    """Return the public functions and methods of the core that take both t and s."""
    found = []
    for module in (import_module(f"refdiff.{home}") for home in HOMES):
        owned = [member for member in vars(module).values() if getattr(member, "__module__", "") == module.__name__]
        inside = [member for owner in owned if inspect.isclass(owner) for member in vars(owner).values()]
        for function in filter(inspect.isfunction, [*owned, *inside]):
            signature = inspect.signature(inspect.unwrap(function))
            if not function.__name__.startswith("_") and {"t", "s"} <= set(signature.parameters):
                found.append((function.__qualname__, signature))
    return found


def test_two_times_are_keywords_t_before_s() -> None:
    """No order of times can be taken for another: wherever two appear they are named."""
    names = {name for name, _ in _of_two_times()}
    assert {"posterior", "posterior_mean", "transition", "step_term", "ddim_step", "DiscreteChain.log_decay"} <= names
    for name, signature in _of_two_times():
        kinds = {key: signature.parameters[key].kind for key in signature.parameters if key in ("t", "s")}
        assert list(kinds) == ["t", "s"], name
        assert set(kinds.values()) == {inspect.Parameter.KEYWORD_ONLY}, name


@pytest.mark.parametrize("module", ["refdiff", "refdiff.errors", "refdiff.conformance.plugin"])
def test_the_plugin_imports_neither_torch_nor_numpy(module: str) -> None:
    """CON: the plugin is loaded in every session of whoever installs refdiff, so it must cost nothing."""
    code = f"import sys, {module}; print(*sorted({{'torch', 'numpy', 'jaxtyping'}} & set(sys.modules)))"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == ""


def test_the_package_is_typed() -> None:
    """PEP 561: without the marker file, nobody's type checker looks inside."""
    assert (_PACKAGE / "py.typed").is_file()


@pytest.mark.parametrize(
    ("missing", "name", "extra"),
    [("torch", "perturb", "torch"), ("torch", "train", "train"), ("tqdm", "train", "train")],
)
def test_a_missing_library_names_the_extra_to_install(missing: str, name: str, extra: str) -> None:
    """The contract needs NumPy alone; what computes, and what trains, asks for its extra."""
    code = (
        f"import sys; sys.modules['{missing}'] = None\n"
        "import refdiff.conformance.interface, refdiff\n"
        f"try: refdiff.{name}\n"
        "except ImportError as error: print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == f'expected {missing} for refdiff.{name}: pip install "refdiff[{extra}]"\n'


@pytest.mark.parametrize("schedule", [LinearSchedule(), CosineSchedule()], ids=repr)
def test_public_methods_refuse_times_outside(schedule: LinearSchedule | CosineSchedule) -> None:
    """NUM-3: whatever a schedule offers is checked; the unchecked formulas are private."""
    for name in (name for name in dir(schedule) if not name.startswith("_")):
        method = getattr(schedule, name)
        if not callable(method):
            continue
        late, half = (torch.tensor([t], dtype=torch.float64) for t in (2.0, 0.5))
        named = {"t": late, "s": half} if name == "log_decay" else {}
        given = () if named else (torch.full_like(late, nan) if name == "time_of_log_snr" else late,)
        with pytest.raises(DomainError):
            method(*given, **named)
