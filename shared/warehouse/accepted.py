"""Rows of the typed tables back to what was accepted. Pure.

A row says all of a record that reaches a state, but for whether a block was sent empty or not at all, which only the
fingerprint tells; so the row holds that as well.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any

import msgspec

from shared.contracts import money
from shared.contracts.enumerations import BLOCK_TYPES
from shared.contracts.events import Outcome, Transaction
from shared.contracts.identity import canonical_time, epoch_micros
from shared.contracts.records import AcceptedOutcome
from shared.contracts.transactions import AcceptedTransaction, fingerprint

Row = Mapping[str, Any]
"""A row as Google's client or Arrow gives it: TIMESTAMP as a datetime with its zone, NUMERIC as a Decimal."""

_TEXTS = ("event_id", "source", "transaction_id", "customer_id", "currency", "status")
_FIELDS = {
    block: {field.name: f"{block}_{field.name}" for field in msgspec.structs.fields(kind)}
    for block, kind in BLOCK_TYPES.items()
}
"""Block → field → column."""

TRANSACTION_COLUMNS = (
    *_TEXTS, "occurred_at", "amount", "fingerprint", *(column for of in _FIELDS.values() for column in of.values()),
)  # fmt: skip
OUTCOME_COLUMNS = ("event_id", "customer_id", "defaulted", "days_to_first_missed_payment", "observed_at")


def accepted_transaction(row: Row) -> AcceptedTransaction:
    """Of `TRANSACTION_COLUMNS`, but for `document` and `warnings`, which nobody keeps."""
    minor = _minor(row["amount"], row["currency"])
    occurred_at, occurred_us = _moment(row["occurred_at"])
    body = {name: row[name] for name in _TEXTS} | {block: _block(row, names) for block, names in _FIELDS.items()}
    body |= {"occurred_at": occurred_at, "amount": money.major_units(minor, row["currency"])}
    transaction = msgspec.convert(body, Transaction, strict=True)
    noted = row["fingerprint"]
    return AcceptedTransaction(
        transaction=transaction,
        occurred_us=occurred_us,
        amount_minor=minor,
        fingerprint=fingerprint(transaction) if noted is None else bytes.fromhex(noted),
        warnings=(),
        document={},
    )


def accepted_outcome(row: Row) -> AcceptedOutcome:
    """Of `OUTCOME_COLUMNS`."""
    observed_at, observed_us = _moment(row["observed_at"])
    outcome = Outcome(
        event_id=row["event_id"],
        customer_id=row["customer_id"],
        defaulted=row["defaulted"],
        days_to_first_missed_payment=row["days_to_first_missed_payment"],
        observed_at=observed_at,
    )
    return AcceptedOutcome(outcome, observed_us, ())


def _block(row: Row, columns: Mapping[str, str]) -> dict[str, Any] | None:
    """None where every field is: as far as a state goes an empty block is an absent one."""
    return {name: value for name, column in columns.items() if (value := row[column]) is not None} or None


def _minor(amount: Decimal, currency: str) -> int:
    return int(amount.scaleb(money.MINOR_DIGITS[currency]))


def _moment(time: datetime) -> tuple[str, int]:
    canonical = canonical_time(time)
    return canonical, epoch_micros(canonical)
