"""Places where a mutation says nothing of the mathematics: types, decorators, and what an error quotes."""

from __future__ import annotations

import ast
from typing import TypeAlias

Position: TypeAlias = tuple[int, int]
"""Line from 1 and column from 0."""
Span: TypeAlias = tuple[Position, Position]


def silent_spans(source: str) -> list[Span]:
    """Return the spans of annotations, type aliases, decorators, docstrings, `__all__`, and arguments of `raise`."""
    return [_span(node) for parent in ast.walk(ast.parse(source)) for node in _silent(parent)]


def is_silent(position: Position, spans: list[Span]) -> bool:
    """Return whether a position is in one of the spans."""
    return any(start <= position < end for start, end in spans)


def _silent(node: ast.AST) -> list[ast.expr]:
    match node:
        case ast.AnnAssign(annotation=ast.Name(id="TypeAlias"), value=value) if value is not None:
            return [node.annotation, value]
        case ast.AnnAssign(annotation=annotation):
            return [annotation]
        case ast.arg(annotation=annotation):
            return [] if annotation is None else [annotation]
        case ast.FunctionDef(decorator_list=decorators, returns=returns):
            return decorators if returns is None else [*decorators, returns]
        case ast.ClassDef(decorator_list=decorators):
            return decorators
        case ast.If(test=ast.Name(id="TYPE_CHECKING") as test):
            return [test]
        case ast.Raise(exc=raised):
            return [] if raised is None else [raised]
        case ast.Assign(targets=[ast.Name(id="__all__")], value=value):
            return [value]
        case ast.Expr(value=ast.Constant(value=str()) as text):
            return [text]
        case _:
            return []


def _span(node: ast.expr) -> Span:
    assert node.end_lineno is not None
    assert node.end_col_offset is not None
    return (node.lineno, node.col_offset), (node.end_lineno, node.end_col_offset)
