"""What each mutation operator makes of one node of a syntax tree."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator, Mapping
from copy import deepcopy
from typing import TypeAlias

Operator: TypeAlias = Callable[[ast.AST], Iterator[ast.AST]]

_ARITHMETIC: Mapping[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.Pow: ast.Mult,
    ast.FloorDiv: ast.Div,
    ast.Mod: ast.Mult,
}
_COMPARISONS: Mapping[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
}
_CALLS = {
    *("abs", "acos", "clamp", "clip", "cos", "cumprod", "cumsum", "exp", "expm1", "fabs", "log", "log1p"),
    *("max", "mean", "min", "round", "rsqrt", "sigmoid", "sin", "sqrt", "square", "sum"),
}
"""Functions and methods that are dropped: f(x, ...) and x.f(...) become x."""


def arithmetic(node: ast.AST) -> Iterator[ast.AST]:
    """Put + for -, * for /, and their like; ** becomes *."""
    if isinstance(node, ast.BinOp) and (other := _ARITHMETIC.get(type(node.op))):
        yield ast.BinOp(left=deepcopy(node.left), op=other(), right=deepcopy(node.right))
    elif isinstance(node, ast.operator) and (other := _ARITHMETIC.get(type(node))):
        yield other()


def operands(node: ast.AST) -> Iterator[ast.AST]:
    """Exchange the operands of a difference, a quotient or a power."""
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Sub | ast.Div | ast.FloorDiv | ast.Pow):
        yield ast.BinOp(left=deepcopy(node.right), op=node.op, right=deepcopy(node.left))


def constant(node: ast.AST) -> Iterator[ast.AST]:
    """Add 1 to a whole number, double another, put 0 for 1, and False for True."""
    value = node.value if isinstance(node, ast.Constant) else None
    if isinstance(value, bool):
        yield ast.Constant(not value)
    elif isinstance(value, int | float):
        yield ast.Constant(value + 1 if isinstance(value, int) or value == 0.0 else 2 * value)
        if value == 1:
            yield ast.Constant(type(value)(0))


def comparison(node: ast.AST) -> Iterator[ast.AST]:
    """Put <= for <, == for !=, and their like."""
    if isinstance(node, ast.Compare) and (other := _COMPARISONS.get(type(node.ops[0]))):
        yield ast.Compare(
            left=deepcopy(node.left), ops=[other(), *node.ops[1:]], comparators=deepcopy(node.comparators)
        )


def sign(node: ast.AST) -> Iterator[ast.AST]:
    """Leave out a minus sign, or a `not`."""
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub | ast.Not):
        yield deepcopy(node.operand)


def call(node: ast.AST) -> Iterator[ast.AST]:
    """Leave out the call of a function of one number."""
    if not isinstance(node, ast.Call):
        return
    function = node.func
    if isinstance(function, ast.Attribute) and function.attr in _CALLS:
        # Of a module, or a method.
        module = isinstance(function.value, ast.Name) and function.value.id in ("math", "np", "torch")
        if not module:
            yield deepcopy(function.value)
        elif node.args:
            yield deepcopy(node.args[0])
    elif isinstance(function, ast.Name) and function.id in _CALLS and node.args:
        yield deepcopy(node.args[0])


def arguments(node: ast.AST) -> Iterator[ast.AST]:
    """Exchange the first two arguments of a call."""
    if isinstance(node, ast.Call) and len(node.args) > 1 and not any(isinstance(a, ast.Starred) for a in node.args):
        first, second, *rest = deepcopy(node.args)
        yield ast.Call(func=deepcopy(node.func), args=[second, first, *rest], keywords=deepcopy(node.keywords))


def index(node: ast.AST) -> Iterator[ast.AST]:
    """Take the entry before the one that a variable names."""
    if isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Name | ast.BinOp | ast.Attribute):
        before = ast.BinOp(left=deepcopy(node.slice), op=ast.Sub(), right=ast.Constant(1))
        yield ast.Subscript(value=deepcopy(node.value), slice=before, ctx=node.ctx)


def logic(node: ast.AST) -> Iterator[ast.AST]:
    """Put `and` for `or`, and the reverse."""
    if isinstance(node, ast.BoolOp):
        other = ast.Or() if isinstance(node.op, ast.And) else ast.And()
        yield ast.BoolOp(op=other, values=deepcopy(node.values))


OPERATORS: Mapping[str, Operator] = {
    "arithmetic": arithmetic,
    "operands": operands,
    "constant": constant,
    "comparison": comparison,
    "sign": sign,
    "call": call,
    "arguments": arguments,
    "index": index,
    "logic": logic,
}
"""By name."""
