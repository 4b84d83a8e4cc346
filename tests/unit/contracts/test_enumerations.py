"""Known values stay, unknown ones become `unknown` and are counted."""

from __future__ import annotations

from typing import Any

import pytest

from shared.contracts.enumerations import BLOCK_TYPES, STATUSES, UNKNOWN, VALUES
from shared.contracts.money import MINOR_DIGITS
from shared.contracts.rejections import InputWarning
from shared.contracts.transactions import BLOCKS
from tests.factories import accepted

PLACES = sorted(VALUES)


def changes(block: str, field: str, value: str | None) -> dict[str, Any]:
    return {block: {field: value}}


def value_at(found: Any, block: str, field: str) -> Any:
    return getattr(getattr(found.transaction, block), field)


@pytest.mark.parametrize(("block", "field"), PLACES)
def test_every_known_value_stays_as_it_is(block: str, field: str) -> None:
    for value in VALUES[block, field]:
        found = accepted(0, **changes(block, field, value))
        assert (value_at(found, block, field), found.warnings) == (value, ())


@pytest.mark.parametrize(("block", "field"), PLACES)
@pytest.mark.parametrize("value", ["something new", "", "ANDROID", "Ä"])
def test_an_unknown_value_becomes_unknown_with_a_warning(block: str, field: str, value: str) -> None:
    found = accepted(0, **changes(block, field, value))
    assert (value_at(found, block, field), found.warnings) == (UNKNOWN, (InputWarning.UNKNOWN_VALUE,))
    assert found.document[block][field] == value


@pytest.mark.parametrize(("block", "field"), PLACES)
def test_a_value_that_a_producer_calls_unknown_is_no_news(block: str, field: str) -> None:
    assert accepted(0, **changes(block, field, UNKNOWN)).warnings == ()
    assert value_at(accepted(0, **changes(block, field, None)), block, field) is None


def test_many_unknown_values_are_one_warning() -> None:
    found = accepted(0, device={"os": "x", "type": "y"}, product={"category": "z"})
    assert found.warnings == (InputWarning.UNKNOWN_VALUE,)


def test_every_currency_and_status_is_accepted() -> None:
    for currency in MINOR_DIGITS:
        assert accepted(0, amount=12, currency=currency).transaction.currency == currency
    for status in STATUSES:
        assert accepted(0, status=status).transaction.status == status


def test_the_values_are_declared_for_fields_that_exist() -> None:
    assert set(BLOCK_TYPES) == set(BLOCKS)
    for block, field in PLACES:
        assert field in BLOCK_TYPES[block].__struct_fields__
        assert UNKNOWN not in VALUES[block, field]
