"""What conditions may ask about a purchase: its fields, its features and its score, each by name and kind."""

from __future__ import annotations

import typing
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from types import NoneType, UnionType
from typing import Any

import msgspec

from shared.contracts.enumerations import BLOCK_TYPES, UNKNOWN, VALUES
from shared.contracts.events import Transaction
from shared.contracts.money import MINOR_DIGITS
from shared.contracts.pseudonyms import Pseudonyms
from shared.feature_definitions import FEATURES
from shared.policy.expression import Domain, Kind, Value

PROHIBITED = frozenset({"customer_age_bracket", "customer_state"})
"""Age, and where somebody lives: prohibited bases of a credit decision, or stand-ins for one. They stay in the data to
measure fairness with, and no rule may look at them."""

NOT_OURS = frozenset({"source_scores"})
"""The source's own answer, which a real checkout doesn't have."""


@dataclass(frozen=True, slots=True)
class Case:
    """One purchase as the policy sees it."""

    transaction: Transaction
    features: Mapping[str, float | None]
    amount_usd: Decimal
    """Of the size of US dollars (see the policy file)."""
    probability: Decimal | None
    loss_rate: Decimal | None
    """Expected loss as a share of the amount."""
    degraded: str | None


Read = Callable[[Case], Value]

_KINDS: dict[type, Kind] = {str: Kind.TEXT, int: Kind.NUMBER, float: Kind.NUMBER, bool: Kind.FLAG}

_OWN: dict[str, tuple[Kind, Read]] = {
    "amount_usd": (Kind.NUMBER, lambda case: case.amount_usd),
    "currency": (Kind.TEXT, lambda case: case.transaction.currency),
    "source": (Kind.TEXT, lambda case: case.transaction.source),
    "customer_id": (Kind.TEXT, lambda case: case.transaction.customer_id),
    "probability_of_default": (Kind.NUMBER, lambda case: case.probability),
    "loss_rate": (Kind.NUMBER, lambda case: case.loss_rate),
    "expected_loss_usd": (
        Kind.NUMBER,
        lambda case: None if case.loss_rate is None else case.loss_rate * case.amount_usd,
    ),
    "degraded": (Kind.TEXT, lambda case: case.degraded),
}


def _number(value: Any) -> Value:
    return Decimal(repr(value)) if isinstance(value, float) else Decimal(value)


_READ: dict[Kind, Callable[[Any], Value]] = {Kind.NUMBER: _number, Kind.TEXT: str, Kind.FLAG: bool}


def _of_features() -> Iterator[tuple[str, tuple[Kind, Read]]]:
    for feature in FEATURES:
        kind = Kind.FLAG if feature.unit == "flag" else Kind.NUMBER

        def read(case: Case, name: str = feature.name, made: Callable[[Any], Value] = _READ[kind]) -> Value:
            value = case.features.get(name)
            return None if value is None else made(value)

        yield feature.name, (kind, read)


def _of_fields() -> Iterator[tuple[str, tuple[Kind, Read]]]:
    """`<block>_<field>` for each field of a transaction's blocks, as in the warehouse."""
    for block, type_ in BLOCK_TYPES.items():
        if block in NOT_OURS:
            continue
        hints = typing.get_type_hints(type_)
        for field in msgspec.structs.fields(type_):
            annotation = hints[field.name]
            parts = typing.get_args(annotation) if isinstance(annotation, UnionType) else (annotation,)
            kind = _KINDS[next(part for part in parts if part is not NoneType)]

            def read(
                case: Case, block: str = block, name: str = field.name, made: Callable[[Any], Value] = _READ[kind]
            ) -> Value:
                part = getattr(case.transaction, block)
                value = None if part is None else getattr(part, name)
                return None if value is None else made(value)

            yield f"{block}_{field.name}", (kind, read)


def _declared() -> dict[str, tuple[Kind, Read]]:
    fields = {name: fact for name, fact in _of_fields() if name not in PROHIBITED}
    # A feature of the same name is the field, made ready for a model; `amount` is one of them, in whatever currency.
    features = {name: fact for name, fact in _of_features() if name != "amount"}
    return {**fields, **features, **_OWN}


_FACTS = _declared()
NAMES: dict[str, Kind] = {name: kind for name, (kind, _) in _FACTS.items()}


def one_of(known: Collection[str]) -> Domain:
    """Texts of a list."""

    def expected(text: str) -> str | None:
        return None if text in known else f"one of {', '.join(sorted(known))}"

    return expected


def _pseudonym(text: str) -> str | None:
    if Pseudonyms.is_one(text):
        return None
    return "customers have pseudonyms (PRIVACY__PSEUDONYM_KEY): `python -m services.scorer pseudonym` gives an id's"


DOMAINS: dict[str, Domain] = {
    f"{block}_{field}": one_of({*values, UNKNOWN})
    for (block, field), values in VALUES.items()
    if f"{block}_{field}" in NAMES
} | {"currency": one_of(MINOR_DIGITS)}
"""What is no known value is `unknown` before a policy sees it."""

UNDER_PSEUDONYMS: dict[str, Domain] = dict.fromkeys(("customer_id", "device_id", "payment_method_id"), _pseudonym)
"""Where there are pseudonyms."""


class FactsOf(Mapping[str, Value]):
    """The facts of one case, each looked up when a condition asks for it."""

    def __init__(self, case: Case) -> None:
        self._case = case

    def __getitem__(self, name: str) -> Value:
        return _FACTS[name][1](self._case)

    def __iter__(self) -> Iterator[str]:
        return iter(_FACTS)

    def __len__(self) -> int:
        return len(_FACTS)
