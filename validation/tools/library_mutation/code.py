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
    """Give the functions of a module the code and the literal defaults that they have in a tree; or one by its name.

    Wrappers, such as those of decorators, keep their code, and call the function that they wrap. Raises ValueError if
    no function of that name is found.
    """
    codes = dict(_codes(compile(tree, str(module.__file__), "exec", dont_inherit=True)))
    nodes = dict(functions(tree))
    changed = 0
    for function in _living(module):
        name = function.__code__.co_qualname
        if name in nodes and (only is None or name == only):
            function.__code__ = codes[name]
            _redefault(function, nodes[name])
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


def _redefault(function: FunctionType, node: ast.FunctionDef) -> None:
    """Give a function the defaults of a tree where they are numbers or flags."""
    if function.__defaults__:
        old = function.__defaults__
        function.__defaults__ = tuple(_literal(given, was) for given, was in zip(node.args.defaults, old, strict=True))
    if named := function.__kwdefaults__:
        given = {argument.arg: node for argument, node in zip(node.args.kwonlyargs, node.args.kw_defaults, strict=True)}
        function.__kwdefaults__ = {name: _literal(given[name], was) for name, was in named.items()}


def _literal(node: ast.expr | None, was: object) -> object:
    try:
        return was if node is None else ast.literal_eval(node)
    except ValueError:
        return was
