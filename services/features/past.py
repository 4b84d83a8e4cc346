"""Rows of the warehouse back to what the states are made of, and whether all of them are there. Pure.

A row says all of a record that reaches a state, but for two things: whether a block was sent empty or not at all,
which only the fingerprint tells, and so the row holds that as well; and who an erased customer was, so that nothing is
made of his rows.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

import msgspec

from services.features.pipeline import LogRecord
from shared.contracts import money
from shared.contracts.enumerations import BLOCK_TYPES
from shared.contracts.events import Outcome, Transaction
from shared.contracts.identity import canonical_time, epoch_micros
from shared.contracts.pseudonyms import Kind, Pseudonyms
from shared.contracts.records import AcceptedOutcome
from shared.contracts.topics import TRANSACTIONS
from shared.contracts.transactions import AcceptedTransaction, fingerprint

Row = Mapping[str, Any]
"""A row as Google's client gives it: TIMESTAMP as a datetime with its zone, NUMERIC as a Decimal."""

MARKS = 2
"""Offsets without a record, side by side: what a producer that uses Kafka's transactions leaves between its records.
More of them are records that the warehouse lacks."""

_TEXTS = ("event_id", "source", "transaction_id", "customer_id", "currency", "status")
_FIELDS = {
    block: {field.name: f"{block}_{field.name}" for field in msgspec.structs.fields(kind)}
    for block, kind in BLOCK_TYPES.items()
}
"""Block → field → column."""


@dataclass(frozen=True, slots=True)
class PastRecord:
    """A record that the log no longer has."""

    offset: int
    accepted: AcceptedTransaction | AcceptedOutcome | None
    """None: it reaches no state. It lay in the wrong partition, or its customer was erased."""

    def place(self, topic: str, partition: int) -> LogRecord:
        """In the place of the record itself: all that `process` asks of it is where it lay."""
        return LogRecord(topic, partition, self.offset, 0, None, None)


def past_record(topic: str, row: Row, pseudonyms: Pseudonyms) -> PastRecord:
    """The record of a row of the topic's typed table."""
    if row["misplaced"] or row["customer_id"] is None:
        return PastRecord(row["kafka_offset"], None)
    if topic == TRANSACTIONS.name:
        return PastRecord(row["kafka_offset"], _transaction(row, pseudonyms))
    return PastRecord(row["kafka_offset"], _outcome(row, pseudonyms))


def _transaction(row: Row, pseudonyms: Pseudonyms) -> AcceptedTransaction:
    minor = _minor(row["amount"], row["currency"])
    occurred_at, occurred_us = _moment(row["occurred_at"])
    body = {name: row[name] for name in _TEXTS} | {block: _block(row, names) for block, names in _FIELDS.items()}
    body |= {"occurred_at": occurred_at, "amount": money.major_units(minor, row["currency"])}
    transaction = msgspec.convert(body, Transaction, strict=True)
    noted = row["fingerprint"]
    accepted = AcceptedTransaction(
        transaction=transaction,
        occurred_us=occurred_us,
        amount_minor=minor,
        fingerprint=fingerprint(transaction) if noted is None else bytes.fromhex(noted),
        warnings=(),
        document={},
    )
    if pseudonyms.once(Kind.CUSTOMER, transaction.customer_id) != transaction.customer_id:
        return pseudonyms.transaction(accepted)  # written before there were pseudonyms
    return accepted


def _block(row: Row, columns: Mapping[str, str]) -> dict[str, Any] | None:
    """None where every field is: as far as a state goes an empty block is an absent one."""
    return {name: value for name, column in columns.items() if (value := row[column]) is not None} or None


def _outcome(row: Row, pseudonyms: Pseudonyms) -> AcceptedOutcome:
    observed_at, observed_us = _moment(row["observed_at"])
    outcome = Outcome(
        event_id=row["event_id"],
        customer_id=pseudonyms.once(Kind.CUSTOMER, row["customer_id"]),
        defaulted=row["defaulted"],
        days_to_first_missed_payment=row["days_to_first_missed_payment"],
        observed_at=observed_at,
    )
    return AcceptedOutcome(outcome, observed_us, ())


def _minor(amount: Decimal, currency: str) -> int:
    return int(amount.scaleb(money.MINOR_DIGITS[currency]))


def _moment(time: datetime) -> tuple[str, int]:
    canonical = canonical_time(time)
    return canonical, epoch_micros(canonical)


def runs_without(low: int, high: int, accounted: Collection[int]) -> Iterator[range]:
    """Runs of offsets in [low, high) that are not among the `accounted`."""
    start = low
    for offset in [*sorted(offset for offset in accounted if low <= offset < high), high]:
        if start < offset:
            yield range(start, offset)
        start = offset + 1


def gaps(runs: Iterable[range], settled: int) -> list[range]:
    """Those runs whose records nobody has. `runs`: of offsets with neither row nor letter, in order.

    `settled`: the offset that the sink has committed, 0 where it is not known. Below it single offsets may be without
    both: marks of transactions, which are no records. From there on none may.
    """
    whole: list[range] = []
    for run in runs:
        if whole and whole[-1].stop == run.start:
            whole[-1] = range(whole[-1].start, run.stop)
        else:
            whole.append(run)
    return [run for run in whole if len(run) > MARKS or run.stop > settled]
