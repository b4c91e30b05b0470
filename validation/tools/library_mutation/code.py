"""Other code in the functions of a module that is imported, so that whoever holds these functions runs it."""

from __future__ import annotations

import ast
import gc
from collections.abc import Iterator
from types import CodeType, FunctionType, ModuleType

from validation.tools.library_mutation.operators import functions

HITS = "_refdiff_hits"
"""Global name of a module that is watched: the set of lines whose statements were reached."""


def replace(module: ModuleType, tree: ast.Module, only: str | None = None) -> None:
    """Give the functions of a module the code that they have in a tree; or one of them, by its name.

    Wrappers, such as those of decorators, keep their code, and call the function that they wrap. Raises ValueError if
    no function of that name is found.
    """
    codes = dict(_codes(compile(tree, str(module.__file__), "exec", dont_inherit=True)))
    names = {name for name, _ in functions(tree)}
    changed = 0
    for function in _living(module):
        name = function.__code__.co_qualname
        if name in names and (only is None or name == only):
            function.__code__ = codes[name]
            changed += 1
    if not changed:
        raise ValueError(f"expected functions of {module.__name__} named {only or 'anything'}, got none")


def watch(module: ModuleType, source: str) -> set[int]:
    """Let the functions of a module note the lines of their statements in the set that is returned."""
    hits: set[int] = set()
    vars(module)[HITS] = hits
    tree = ast.parse(source)
    for _, function in functions(tree):
        for node in list(ast.walk(function)):
            for field in ("body", "orelse", "finalbody"):
                block = getattr(node, field, None)
                if isinstance(block, list):
                    setattr(node, field, [one for statement in block for one in (_note(statement), statement)])
    replace(module, ast.fix_missing_locations(tree))
    return hits


def _note(statement: ast.stmt) -> ast.stmt:
    return ast.copy_location(ast.parse(f"{HITS}.add({statement.lineno})").body[0], statement)


def _codes(code: CodeType) -> Iterator[tuple[str, CodeType]]:
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield constant.co_qualname, constant
            yield from _codes(constant)


def _living(module: ModuleType) -> Iterator[FunctionType]:
    """Yield the functions that were defined in the file of a module, whoever holds them."""
    for thing in gc.get_objects():
        # By `type`: to ask some objects for their class has effects, such as a warning.
        if type(thing) is FunctionType and thing.__code__.co_filename == module.__file__:
            yield thing
