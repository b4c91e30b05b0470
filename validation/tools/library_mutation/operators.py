"""Mutation operators: the places of a module's formulas, and the small faults that each of them can have.

A place is in the body of a function. No places: defaults of arguments, which are options, annotations, messages, checks
that only raise, devices, dtypes and generators.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterable, Iterator
from copy import deepcopy
from dataclasses import dataclass
from typing import TypeAlias, final

from validation.tools.library_mutation.changes import OPERATORS

_Put: TypeAlias = Callable[[ast.AST], None]

PLUMBING = {"device", "dtype", "generator", "return_dict", "silent", "min_dtype", "ncols", "miniters"}
"""Names of arguments that carry no number of a formula."""
SKIPPED = {"__len__", "__repr__", "_apply", "progress_bar"}
"""Functions that compute nothing."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Mutant:
    """One change of one place."""

    index: int
    """Position among all mutants of the module."""
    function: str
    """Qualified name of the outermost function: the one whose code is replaced."""
    line: int
    """First line of the statement, by which it is known whether a check reaches it."""
    operator: str
    before: str
    """The statement, without its body."""
    after: str


def mutants(source: str) -> tuple[Mutant, ...]:
    """Return every mutant of a module that differs from it and from the others, in the order of the source."""
    found: dict[tuple[str, int, str, str], Mutant] = {}
    for index, (place, operator, put, new, old) in enumerate(_changes(ast.parse(source))):
        before = _head(place.statement)
        put(new)
        after = _head(place.statement)
        put(old)
        if after != before:
            name, line = place.function, place.statement.lineno
            mutant = Mutant(index=index, function=name, line=line, operator=operator, before=before, after=after)
            found.setdefault((name, line, before, after), mutant)
    return tuple(found.values())


def mutated(source: str, mutant: Mutant) -> ast.Module:
    """Return the tree of a module with this change."""
    tree = ast.parse(source)
    for index, (_, _, put, new, _) in enumerate(_changes(tree)):
        if index == mutant.index:
            put(new)
            break
    return ast.fix_missing_locations(tree)


def functions(tree: ast.Module) -> Iterator[tuple[str, ast.FunctionDef]]:
    """Yield the functions of a module, and the methods of its classes, by qualified name."""
    for node in tree.body:
        if isinstance(node, ast.FunctionDef):
            yield node.name, node
        elif isinstance(node, ast.ClassDef):
            for method in node.body:
                if isinstance(method, ast.FunctionDef):
                    yield f"{node.name}.{method.name}", method


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class _Place:
    """A node that a formula is made of."""

    function: str
    statement: ast.stmt
    node: ast.AST
    put: _Put
    """Puts another node there."""


def _changes(tree: ast.Module) -> Iterator[tuple[_Place, str, _Put, ast.AST, ast.AST]]:
    """Yield each place with each operator that applies to it, the new node and the old one."""
    for place in _places(tree):
        for name, operator in OPERATORS.items():
            for new in operator(place.node):
                yield place, name, place.put, deepcopy(new), place.node


def _places(tree: ast.Module) -> Iterator[_Place]:
    for name, function in functions(tree):
        if function.name not in SKIPPED:
            yield from _block(name, function.body)


def _block(name: str, statements: Iterable[ast.stmt]) -> Iterator[_Place]:
    for statement in statements:
        if _only_raises([statement]):
            continue
        if isinstance(statement, ast.AugAssign):
            yield _operator(name, statement)
        for field, value in ast.iter_fields(statement):
            blocks = field in ("body", "orelse", "finalbody")
            if blocks and isinstance(value, list):
                yield from _block(name, value)
            elif field not in ("annotation", "returns", "decorator_list", "args", "type_comment"):
                yield from _within(name, statement, statement, field, value)


def _operator(name: str, statement: ast.AugAssign) -> _Place:
    def put(new: ast.AST) -> None:
        assert isinstance(new, ast.operator)
        statement.op = new

    return _Place(function=name, statement=statement, node=statement.op, put=put)


def _within(name: str, statement: ast.stmt, parent: ast.AST, field: str, value: object) -> Iterator[_Place]:
    if isinstance(value, list):
        yield from _listed(name, statement, parent, field)
    elif isinstance(value, ast.expr | ast.keyword):
        yield from _node(name, statement, value, lambda new: setattr(parent, field, new))


def _listed(name: str, statement: ast.stmt, parent: ast.AST, field: str) -> Iterator[_Place]:
    """Yield the places in a field that holds a list."""
    values: list[ast.AST] = getattr(parent, field)

    def putting(position: int) -> _Put:
        return lambda new: values.__setitem__(position, new)

    for position, value in enumerate(values):
        if isinstance(value, ast.expr | ast.keyword):
            yield from _node(name, statement, value, putting(position))


def _node(name: str, statement: ast.stmt, node: ast.AST, put: _Put) -> Iterator[_Place]:
    if _is_plumbing(node):
        return
    yield _Place(function=name, statement=statement, node=node, put=put)
    for field, value in ast.iter_fields(node):
        yield from _within(name, statement, node, field, value)


def _is_plumbing(node: ast.AST) -> bool:
    """Say whether a node carries a device, a dtype, a message, or the form of a result."""
    if isinstance(node, ast.keyword):
        return node.arg in PLUMBING
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        return _is_plumbing(node.operand)
    if isinstance(node, ast.Attribute):
        return node.attr in PLUMBING
    return isinstance(node, ast.JoinedStr) or (isinstance(node, ast.Name) and node.id in PLUMBING)


def _only_raises(statements: Iterable[ast.stmt]) -> bool:
    """Say whether statements do nothing but check something, or are a docstring."""
    return all(
        isinstance(one, ast.Raise)
        or (isinstance(one, ast.Expr) and isinstance(one.value, ast.Constant))
        or (isinstance(one, ast.If | ast.For) and not one.orelse and _only_raises(one.body))
        for one in statements
    )


def _head(statement: ast.stmt) -> str:
    """Return a statement as source, without the statements that it holds."""
    if isinstance(statement, ast.If):
        return f"if {ast.unparse(statement.test)}:"
    if isinstance(statement, ast.While):
        return f"while {ast.unparse(statement.test)}:"
    if isinstance(statement, ast.For):
        return f"for {ast.unparse(statement.target)} in {ast.unparse(statement.iter)}:"
    return ast.unparse(statement)
