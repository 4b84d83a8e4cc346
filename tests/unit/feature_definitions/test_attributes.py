"""Features of a purchase alone, where numbers get large."""

from __future__ import annotations

import json

import pytest

from shared.contracts.transactions import Door, Limits, decode_transaction
from shared.feature_definitions.attributes import first_payment_share
from tests.factories import START_US, transaction


@pytest.mark.parametrize(("first", "share"), [(2.5, 0.25), (1e307, 1e306), (1.7e308, None)])
def test_a_share_that_no_number_can_hold_is_unknown_at_both_doors(first: float, share: float | None) -> None:
    """In a vector's JSON infinity is null: the checkout must not see another number than the stream."""
    amount = 10.0 if share is not None else 0.01
    body = transaction(0, amount=amount, installments={"count": 4, "first_payment_amount": first})
    accepted = decode_transaction(json.dumps(body).encode(), door=Door.REST, received_us=START_US, limits=Limits())
    found = first_payment_share(accepted)
    assert found == (None if share is None else pytest.approx(share))
