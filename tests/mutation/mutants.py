"""Mutants: small defects that are put into a module one at a time. A test should fail for each of them."""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace

COMPARISONS: dict[type[ast.cmpop], tuple[type[ast.cmpop], ...]] = {
    ast.Eq: (ast.NotEq,),
    ast.NotEq: (ast.Eq,),
    ast.Is: (ast.IsNot,),
    ast.IsNot: (ast.Is,),
    ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
    ast.Lt: (ast.LtE, ast.GtE),
    ast.LtE: (ast.Lt, ast.Gt),
    ast.Gt: (ast.GtE, ast.LtE),
    ast.GtE: (ast.Gt, ast.Lt),
}
FUNCTIONS = {"all": "any", "any": "all", "min": "max", "max": "min"}
LOG = "logger"  # what is only logged is not mutated


@dataclass(frozen=True, slots=True)
class Mutant:
    """One change of one module."""

    module: str  # its path below the layer's package
    scope: str  # the function or class that holds the change, "" for the module itself
    operator: str
    before: str
    after: str
    lines: tuple[int, int]  # the first and the last line of the statement
    place: tuple[int, int]  # the bytes of the module that are replaced
    is_run: bool  # the change lies in a function, so that only tests which run its lines can notice it
    number: int = 1  # among those that are otherwise named alike

    @property
    def name(self) -> str:
        """The mutant without its line, so that a list of mutants stays valid when lines move."""
        place = f"{self.module} {self.scope or '(module)'}"
        change = " ".join(f"{self.operator}: {self.before} -> {self.after}".split())
        return f"{place}: {change}" + (f" #{self.number}" if self.number > 1 else "")

    def applied_to(self, source: bytes) -> bytes:
        start, end = self.place
        return source[:start] + self.after.encode() + source[end:]


@dataclass(frozen=True, slots=True)
class _Place:
    """Where the walk through a module is."""

    scope: tuple[str, ...] = ()
    statement: ast.stmt | None = None
    is_run: bool = False


def mutants_of(module: str, source: bytes) -> list[Mutant]:
    """Return all mutants of a module, in the order of their places. Each of them is valid Python."""
    starts = [0]
    for line in source.splitlines(keepends=True):
        starts.append(starts[-1] + len(line))

    def mutant(place: _Place, node: ast.expr | ast.stmt, operator: str, after: str) -> Mutant:
        end_line, end_column = node.end_lineno or node.lineno, node.end_col_offset or 0
        span = (starts[node.lineno - 1] + node.col_offset, starts[end_line - 1] + end_column)
        first, last = node.lineno, end_line
        if place.statement and not hasattr(place.statement, "body"):
            first = min(first, place.statement.lineno)
            last = max(last, place.statement.end_lineno or last)
        before = source[slice(*span)].decode()
        return Mutant(
            module, ".".join(place.scope), operator, before, after, (first, last), span, place.is_run
        )

    found = [mutant(*one) for one in _walk(ast.parse(source), _Place())]
    unique = {(one.place, one.after): one for one in found if one.before != one.after}
    number: Counter[str] = Counter()
    named: list[Mutant] = []
    for one in sorted(unique.values(), key=lambda one: (one.place, one.after)):
        number[one.name] += 1
        named.append(replace(one, number=number[one.name]))
    return named


def _walk(node: ast.AST, place: _Place) -> Iterator[tuple[_Place, ast.expr | ast.stmt, str, str]]:
    if _is_left_alone(node):
        return
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
        yield from _walk_definition(node, place)
        return
    if isinstance(node, ast.stmt):
        place = _Place(place.scope, node, place.is_run)
        yield from ((place, node, operator, after) for operator, after in _of_statement(node))
    if isinstance(node, ast.expr):
        changes = _of_expression(node, is_named=not place.is_run)
        yield from ((place, node, operator, after) for operator, after in changes)
    for test in _conditions(node):
        yield place, test, "condition negated", f"(not ({ast.unparse(test)}))"
    for field, value in ast.iter_fields(node):
        if field in {"annotation", "returns"}:
            continue
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.AST):
                yield from _walk(child, place)


def _walk_definition(
    node: ast.FunctionDef | ast.ClassDef, place: _Place
) -> Iterator[tuple[_Place, ast.expr | ast.stmt, str, str]]:
    """Walk through the body and the defaults, which are set at the definition. Decorators are left alone."""
    is_run = place.is_run or isinstance(node, ast.FunctionDef)
    inner = _Place((*place.scope, node.name), node, is_run)
    if isinstance(node, ast.FunctionDef):
        for default in (*node.args.defaults, *node.args.kw_defaults):
            if default:
                yield from _walk(default, _Place(inner.scope, node, place.is_run))
    for child in node.body:
        yield from _walk(child, inner)


def _is_left_alone(node: ast.AST) -> bool:
    match node:
        case ast.Import() | ast.ImportFrom() | ast.TypeAlias() | ast.pattern():
            return True
        case ast.If(test=ast.Name("TYPE_CHECKING")):
            return True
        case ast.Expr(ast.Constant()):  # a docstring
            return True
        case ast.Call(ast.Attribute(ast.Name(name))) if name == LOG:
            return True
        case ast.Expr(ast.Call(ast.Attribute(ast.Name(name)))) if name == LOG:
            return True
    return False


def _conditions(node: ast.AST) -> list[ast.expr]:
    """Return the conditions that a negation changes and that no other operator negates."""
    match node:
        case ast.If(test=test) | ast.IfExp(test=test):
            tests = [test]
        case ast.comprehension(ifs=ifs):
            tests = ifs
        case ast.match_case(guard=guard) if guard:
            tests = [guard]
        case _:
            tests = []
    return [test for test in tests if not isinstance(test, ast.Compare | ast.UnaryOp)]


def _of_statement(node: ast.stmt) -> Iterator[tuple[str, str]]:
    match node:
        case ast.Raise():
            yield "raise deleted", "pass"
        case ast.Expr(ast.Call()) | ast.AugAssign():
            yield "statement deleted", "pass"
        case ast.Return(value) if value is not None and not _is_none_or_false(value):
            yield "None returned", "return None"


def _of_expression(node: ast.expr, *, is_named: bool) -> Iterator[tuple[str, str]]:  # noqa: C901  # one table of operators
    match node:
        case ast.Compare(left, [operator], [right]):
            for other in COMPARISONS[type(operator)]:
                yield "comparison changed", f"({ast.unparse(ast.Compare(left, [other()], [right]))})"
        case ast.BoolOp(operator, values):
            swapped = ast.Or() if isinstance(operator, ast.And) else ast.And()
            yield "and/or swapped", f"({ast.unparse(ast.BoolOp(swapped, values))})"
        case ast.UnaryOp(ast.Not(), operand):
            yield "not deleted", f"({ast.unparse(operand)})"
        case ast.BinOp(left, ast.Add() | ast.Sub() as operator, right) if not _is_text(left, right):
            other_sign = ast.Sub() if isinstance(operator, ast.Add) else ast.Add()
            yield "sign changed", f"({ast.unparse(ast.BinOp(left, other_sign, right))})"
        case ast.Constant(bool(value)):
            yield "True/False swapped", str(not value)
        case ast.Constant(int(value) | float(value)) if is_named:
            # The value of a named constant is a choice. That it has an effect is not.
            yield "constant is 0", "0"
        case ast.Constant(int(value) | float(value)):
            yield "constant changed", repr(value + 1)
            yield "constant changed", f"({value - 1!r})"
        case ast.Call(function, args, keywords):
            if isinstance(function, ast.Name) and function.id in FUNCTIONS:
                other_call = ast.Call(ast.Name(FUNCTIONS[function.id]), args, keywords)
                yield "function swapped", ast.unparse(other_call)
            for keyword in keywords:
                if keyword.arg:
                    left_over = [one for one in keywords if one is not keyword]
                    yield "argument dropped", ast.unparse(ast.Call(function, args, left_over))


def _is_none_or_false(value: ast.expr) -> bool:
    """Return whether the value means the same to a condition as None. False becomes True anyway."""
    return isinstance(value, ast.Constant) and (value.value is None or value.value is False)


def _is_text(*values: ast.expr) -> bool:
    return any(
        isinstance(one, ast.JoinedStr) or (isinstance(one, ast.Constant) and isinstance(one.value, str))
        for one in values
    )
