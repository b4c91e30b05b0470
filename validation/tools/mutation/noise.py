"""Places where a mutation says nothing of the mathematics: types, decorators, and what an error quotes."""

from __future__ import annotations

import ast
import io
import itertools
import tokenize
from collections.abc import Sequence
from typing import TypeAlias

Position: TypeAlias = tuple[int, int]
"""Line from 1 and column from 0."""
Span: TypeAlias = tuple[Position, Position]


def silent_spans(source: str) -> list[Span]:
    """Return the spans that say nothing of the mathematics.

    These are annotations, type aliases, decorators, docstrings, protocols, `__all__`, arguments of `raise`, options of
    dataclass fields, and stars that are no product.
    """
    found = [_span(node) for parent in ast.walk(ast.parse(source)) for node in _silent(parent)]
    return found + _stars(source)


def is_silent(position: Position, spans: list[Span]) -> bool:
    """Return whether a position is in one of the spans."""
    return any(start <= position < end for start, end in spans)


def _silent(node: ast.AST) -> Sequence[ast.expr | ast.stmt]:
    match node:
        case ast.AnnAssign(annotation=ast.Name(id="TypeAlias"), value=value) if value is not None:
            return [node.annotation, value]
        case ast.AnnAssign(annotation=annotation):
            return [annotation]
        case ast.arg(annotation=annotation):
            return [] if annotation is None else [annotation]
        case ast.FunctionDef(decorator_list=decorators, returns=returns):
            return decorators if returns is None else [*decorators, returns]
        case ast.ClassDef(decorator_list=decorators, bases=bases, body=body):
            is_protocol = any(isinstance(base, ast.Name) and base.id == "Protocol" for base in bases)
            return [*decorators, *body] if is_protocol else [*decorators]
        case ast.If(test=ast.Name(id="TYPE_CHECKING") as test):
            return [test]
        case ast.Call(func=ast.Name(id="field"), keywords=options):
            return [option.value for option in options if option.arg in ("init", "repr")]
        case ast.Raise(exc=raised):
            return [] if raised is None else [raised]
        case ast.Assign(targets=[ast.Name(id="__all__")], value=value):
            return [value]
        case ast.Expr(value=ast.Constant(value=str()) as text):
            return [text]
        case _:
            return []


def _stars(source: str) -> list[Span]:
    """Return the stars of parameters and arguments, which cosmic-ray takes for products and powers."""
    tokens = [token for token in tokenize.generate_tokens(io.StringIO(source).readline) if token.string.strip()]
    return [
        (star.start, star.end)
        for before, star in itertools.pairwise(tokens)
        if star.string in ("*", "**") and before.string in ("(", "[", "{", ",", ":")
    ]


def _span(node: ast.expr | ast.stmt) -> Span:
    assert node.end_lineno is not None
    assert node.end_col_offset is not None
    return (node.lineno, node.col_offset), (node.end_lineno, node.end_col_offset)
