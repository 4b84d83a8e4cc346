"""Conditions of rules: `purchases_24h >= 8 and amount_usd > 100`, checked when the policy is loaded.

The grammar is a small part of Python's, parsed by Python's own parser and compiled to closures; nothing is ever
evaluated as code. Names are those of the facts (shared.policy.facts); numbers, texts and flags are compared like with
like:

    + - * /   == != < <= > >=   and or not   x in ["a", "b"]   x in a_list   known(x)

A fact may be unknown. What follows from an unknown is unknown (as in SQL: false and unknown is false, true or unknown
is true), and a rule applies only where its condition is true; `known(x)` is how to ask. Numbers are exact decimals.
"""

from __future__ import annotations

import ast
import difflib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal, DivisionByZero, InvalidOperation
from enum import Enum
from typing import Any

Value = Decimal | str | bool | None
Facts = Mapping[str, Value]
Term = Callable[[Facts], Any]
Domain = Callable[[str], str | None]
"""Of a text fact: what is expected in place of a text that it can never be; None for one that it may be."""

LARGEST = Decimal("1e30")
"""Of a number that is written. With the depth bounded no product of such numbers overflows."""

NOTHING_ELSE = "names, numbers, texts, comparisons, and, or, not, in, known(…): nothing else"

MAX_LENGTH = 1000
MAX_DEPTH = 20
"""Nobody reads a deeper one, and the compiler's recursion stays bounded."""


class Kind(Enum):
    NUMBER = "a number"
    TEXT = "a text"
    FLAG = "a flag"


class ExpressionError(ValueError):
    """The condition can't be used. `column`: where, from 0."""

    def __init__(self, message: str, column: int = 0) -> None:
        super().__init__(message)
        self.column = column


@dataclass(frozen=True)
class Condition:
    """A checked condition. Calling it gives True, False, or None for unknown."""

    text: str
    names: frozenset[str]
    """The facts that it asks for."""
    _term: Term

    def __call__(self, facts: Facts) -> bool | None:
        answer: bool | None = self._term(facts)
        return answer


def compile_condition(
    text: str,
    names: Mapping[str, Kind],
    lists: Mapping[str, frozenset[str]] | None = None,
    domains: Mapping[str, Domain] | None = None,
) -> Condition:
    """`names`: the facts there are. `lists`: texts by the name of the list. `domains`: of facts by name; who compares
    one of them with what it can never be has made a mistake. Raises ExpressionError."""
    if len(text) > MAX_LENGTH:
        raise ExpressionError(f"longer than {MAX_LENGTH} characters")
    try:
        tree = ast.parse(text, mode="eval")
    except (SyntaxError, ValueError, MemoryError, RecursionError) as error:
        offset = getattr(error, "offset", None)  # 0: where the text ends
        column = offset - 1 if offset else len(text)
        raise ExpressionError(f"not a condition: {getattr(error, 'msg', None) or error}", column) from None
    compiler = _Compiler(text, names, lists or {}, domains or {})
    kind, term = compiler.compile(tree.body, 0)
    if kind is not Kind.FLAG:
        raise ExpressionError(f"a condition is true or false, this is {kind.value}")
    return Condition(text, frozenset(compiler.used), term)


_COMPARISONS: dict[type[ast.cmpop], Callable[[Any, Any], bool]] = {
    ast.Eq: lambda one, other: one == other,
    ast.NotEq: lambda one, other: one != other,
    ast.Lt: lambda one, other: one < other,
    ast.LtE: lambda one, other: one <= other,
    ast.Gt: lambda one, other: one > other,
    ast.GtE: lambda one, other: one >= other,
}
_EQUALITY = (ast.Eq, ast.NotEq)
_ARITHMETIC: dict[type[ast.operator], Callable[[Decimal, Decimal], Decimal]] = {
    ast.Add: lambda one, other: one + other,
    ast.Sub: lambda one, other: one - other,
    ast.Mult: lambda one, other: one * other,
    ast.Div: lambda one, other: one / other,
}


def _decimal(text: str, column: int) -> Decimal:
    try:
        number = Decimal(text.replace("_", ""))
    except ArithmeticError:  # 0x10, 0b1: Python's parser takes them
        raise ExpressionError("a number in decimal digits", column) from None
    if abs(number) > LARGEST or (number and abs(number) < 1 / LARGEST):
        raise ExpressionError(f"a number between 1/{LARGEST} and {LARGEST}", column)
    return number


class _Compiler:
    def __init__(
        self,
        text: str,
        names: Mapping[str, Kind],
        lists: Mapping[str, frozenset[str]],
        domains: Mapping[str, Domain],
    ) -> None:
        self._text = text
        self._names = names
        self._lists = lists
        self._domains = domains
        self.used: set[str] = set()

    def compile(self, node: ast.expr, depth: int) -> tuple[Kind, Term]:
        if depth > MAX_DEPTH:
            raise ExpressionError(f"nested deeper than {MAX_DEPTH}", node.col_offset)
        if isinstance(node, ast.Constant):
            return self._constant(node)
        if isinstance(node, ast.Name):
            return self._name(node)
        if isinstance(node, ast.BoolOp):
            return self._junction(node, depth)
        if isinstance(node, ast.UnaryOp):
            return self._unary(node, depth)
        if isinstance(node, ast.BinOp):
            return self._arithmetic(node, depth)
        if isinstance(node, ast.Compare):
            return self._comparison(node, depth)
        if isinstance(node, ast.Call):
            return self._known(node)
        raise ExpressionError(
            "names, numbers, texts, comparisons, and, or, not, in, known(…): nothing else", node.col_offset
        )

    def _constant(self, node: ast.Constant) -> tuple[Kind, Term]:
        value = node.value
        if isinstance(value, bool):
            return Kind.FLAG, lambda _: value
        if isinstance(value, int | float):
            # From the text: 0.1 as it was written, not as a binary float nearly is it.
            number = _decimal(ast.get_source_segment(self._text, node) or str(value), node.col_offset)
            return Kind.NUMBER, lambda _: number
        if isinstance(value, str):
            return Kind.TEXT, lambda _: value
        raise ExpressionError("a number, a text in quotes, True or False", node.col_offset)

    def _name(self, node: ast.Name) -> tuple[Kind, Term]:
        name = node.id
        if name not in self._names:
            near = difflib.get_close_matches(name, [*self._names, *self._lists], n=1)
            hint = f" (did you mean {near[0]}?)" if near else ""
            raise ExpressionError(f"there is no fact {name}{hint}", node.col_offset)
        self.used.add(name)
        return self._names[name], lambda facts: facts[name]

    def _junction(self, node: ast.BoolOp, depth: int) -> tuple[Kind, Term]:
        terms = [self._of(Kind.FLAG, each, depth) for each in node.values]
        deciding = isinstance(node.op, ast.Or)  # one true decides an or, one false an and

        def junction(facts: Facts) -> bool | None:
            unknown = False
            for term in terms:
                value: bool | None = term(facts)
                if value is deciding:
                    return deciding
                unknown = unknown or value is None
            return None if unknown else not deciding

        return Kind.FLAG, junction

    def _unary(self, node: ast.UnaryOp, depth: int) -> tuple[Kind, Term]:
        if isinstance(node.op, ast.Not):
            flag = self._of(Kind.FLAG, node.operand, depth)
            return Kind.FLAG, lambda facts: None if (value := flag(facts)) is None else not value
        if isinstance(node.op, ast.USub):
            number = self._of(Kind.NUMBER, node.operand, depth)
            return Kind.NUMBER, lambda facts: None if (value := number(facts)) is None else -value
        raise ExpressionError("not, or a minus sign", node.col_offset)

    def _arithmetic(self, node: ast.BinOp, depth: int) -> tuple[Kind, Term]:
        operation = _ARITHMETIC.get(type(node.op))
        if operation is None:
            raise ExpressionError("+, -, * or /", node.col_offset)
        left, right = (self._of(Kind.NUMBER, side, depth) for side in (node.left, node.right))

        def arithmetic(facts: Facts) -> Decimal | None:
            one, other = left(facts), right(facts)
            if one is None or other is None:
                return None
            try:
                return operation(one, other)
            except (DivisionByZero, InvalidOperation):
                return None  # a share of nothing is unknown

        return Kind.NUMBER, arithmetic

    def _comparison(self, node: ast.Compare, depth: int) -> tuple[Kind, Term]:
        if len(node.ops) != 1:
            raise ExpressionError("one comparison at a time: join them with and", node.col_offset)
        operator, right = node.ops[0], node.comparators[0]
        if isinstance(operator, ast.In | ast.NotIn):
            return self._membership(node, operator, right, depth)
        compare = _COMPARISONS.get(type(operator))
        if compare is None:
            raise ExpressionError("==, !=, <, <=, >, >= or in", node.col_offset)
        kind, one = self.compile(node.left, depth + 1)
        other_kind, other = self.compile(right, depth + 1)
        if kind is not other_kind:
            raise ExpressionError(f"{kind.value} is compared with {other_kind.value}", right.col_offset)
        if kind is not Kind.NUMBER and not isinstance(operator, _EQUALITY):
            raise ExpressionError(f"{kind.value} is equal or not, never more or less", node.col_offset)
        for fact, said in ((node.left, right), (right, node.left)):
            if isinstance(said, ast.Constant) and isinstance(said.value, str):
                self._may_be(fact, [said.value], said.col_offset)

        def comparison(facts: Facts) -> bool | None:
            left: Value = one(facts)
            right: Value = other(facts)
            return None if left is None or right is None else compare(left, right)

        return Kind.FLAG, comparison

    def _membership(self, node: ast.Compare, operator: ast.cmpop, right: ast.expr, depth: int) -> tuple[Kind, Term]:
        if isinstance(right, ast.Name):
            if right.id not in self._lists:
                raise ExpressionError(f"there is no list {right.id}", right.col_offset)
            kind, members = Kind.TEXT, self._lists[right.id]
        elif isinstance(right, ast.List) and right.elts:
            constants = [each for each in right.elts if isinstance(each, ast.Constant)]
            kinds = {self._constant(each)[0] for each in constants}
            if len(constants) != len(right.elts) or len(kinds) != 1:
                raise ExpressionError("a list of texts, or of numbers", right.col_offset)
            (kind,) = kinds
            members = frozenset(self._constant(each)[1]({}) for each in constants)
        else:
            raise ExpressionError('a list, such as ["a", "b"], or the name of one', right.col_offset)
        item = self._of(kind, node.left, depth)
        if kind is Kind.TEXT:
            self._may_be(node.left, sorted(members), right.col_offset)
        wanted = isinstance(operator, ast.In)

        def membership(facts: Facts) -> bool | None:
            value: Value = item(facts)
            return None if value is None else (value in members) is wanted

        return Kind.FLAG, membership

    def _may_be(self, fact: ast.expr, texts: Sequence[str], column: int) -> None:
        """Raises ExpressionError for a text that the fact can never be: such a condition would never hold."""
        domain = self._domains.get(fact.id) if isinstance(fact, ast.Name) else None
        for text in texts if domain is not None else ():
            expected = domain(text)  # type: ignore[misc]
            if expected is not None:
                raise ExpressionError(f"it is never {text!r}: {expected}", column)

    def _known(self, node: ast.Call) -> tuple[Kind, Term]:
        named = isinstance(node.func, ast.Name) and node.func.id == "known"
        if not named or len(node.args) != 1 or node.keywords or not isinstance(node.args[0], ast.Name):
            raise ExpressionError("the one function is known(fact)", node.col_offset)
        _, fact = self._name(node.args[0])
        return Kind.FLAG, lambda facts: fact(facts) is not None

    def _of(self, wanted: Kind, node: ast.expr, depth: int) -> Term:
        kind, term = self.compile(node, depth + 1)
        if kind is not wanted:
            raise ExpressionError(f"{wanted.value} is expected here, this is {kind.value}", node.col_offset)
        return term
