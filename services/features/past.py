"""Rows of the warehouse back to what the states are made of, and whether all of them are there. Pure.

A row says all of a record that reaches a state (shared.warehouse.accepted), but for who an erased customer was: nothing
is made of his rows.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, replace

import msgspec

from services.features.pipeline import LogRecord
from shared.contracts.pseudonyms import Kind, Pseudonyms
from shared.contracts.records import AcceptedOutcome
from shared.contracts.topics import TRANSACTIONS
from shared.contracts.transactions import AcceptedTransaction
from shared.warehouse.accepted import Row, accepted_outcome, accepted_transaction

BEFORE_THE_LOG = -1

MARKS = 2
"""Offsets without a record, side by side: what a producer that uses Kafka's transactions leaves between its records.
More of them are records that the warehouse lacks."""


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
    """The record of a row of the topic's typed table. One that was loaded in bulk never had an offset."""
    offset = BEFORE_THE_LOG if row["kafka_offset"] is None else row["kafka_offset"]
    if row["misplaced"] or row["customer_id"] is None:
        return PastRecord(offset, None)
    if topic == TRANSACTIONS.name:
        return PastRecord(offset, _named(accepted_transaction(row), pseudonyms))
    return PastRecord(offset, _outcome(accepted_outcome(row), pseudonyms))


def _named(accepted: AcceptedTransaction, pseudonyms: Pseudonyms) -> AcceptedTransaction:
    """With the pseudonym that the row lacks where it was written before there were any."""
    transaction = accepted.transaction
    if pseudonyms.once(Kind.CUSTOMER, transaction.customer_id) != transaction.customer_id:
        return pseudonyms.transaction(accepted)
    return accepted


def _outcome(accepted: AcceptedOutcome, pseudonyms: Pseudonyms) -> AcceptedOutcome:
    customer_id = pseudonyms.once(Kind.CUSTOMER, accepted.outcome.customer_id)
    return replace(accepted, outcome=msgspec.structs.replace(accepted.outcome, customer_id=customer_id))


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
