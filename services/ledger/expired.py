"""What the log no longer has, as the warehouse tells it. Pure.

Retention takes records from the topics one topic after the other: vectors long before the purchases that they are of.
What is still on the log is judged as ever; where that needs a record that is gone, its row stands in for it. Where
there is no row either, or one that was emptied since its customer was erased, nothing can be told, and that is said.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from services.ledger.recompute import DIGITS, PERIODS, Buy, Known
from shared.contracts import identity
from shared.contracts.enumerations import BLOCK_TYPES
from shared.contracts.rejections import RejectionReason
from shared.contracts.topics import DEAD_LETTERS, DECISIONS, FEATURES, OUTCOMES, TRANSACTIONS

Beginnings = Mapping[tuple[str, int], int]
"""(topic, partition) → the first offset that the log still has; partitions that have all of it are left out."""

Row = Mapping[str, Any]

BEFORE_THE_LOG = -1
"""In place of an offset, of what never lay in Kafka."""

COUNTED = (TRANSACTIONS.name, OUTCOMES.name, FEATURES.name, DECISIONS.name)
"""Topics of whose records each has a row or a letter."""


@dataclass
class Expired:
    beginnings: dict[tuple[str, int], int] = field(default_factory=dict)
    events: list[tuple[str, str]] = field(default_factory=list)
    """(event id, source) of each purchase, those of erased customers too."""
    bought: list[tuple[str, Buy]] = field(default_factory=list)
    """(customer, purchase), in log order within each partition."""
    outcomes: list[tuple[str, Known]] = field(default_factory=list)
    """(customer, outcome), likewise."""
    vectors: dict[str, bool] = field(default_factory=dict)
    """Event id → whether one of its vectors was not refused a decision."""
    decisions: set[str] = field(default_factory=set)
    """Event ids."""
    refused: dict[tuple[str, int, int], str | None] = field(default_factory=dict)
    """Places of refused records whose letters are gone → SHA-256 of the value."""
    undecided: set[tuple[str, int, int]] = field(default_factory=set)
    """Places of vectors with a letter, on the log or not, since their event was decided for another purchase."""
    incomplete: set[tuple[str, int]] = field(default_factory=set)
    """(topic, partition) of which rows are missing."""
    emptied: set[int] = field(default_factory=set)
    """Partitions of whose inputs some rows no longer say whose they are."""

    def lacks(self, topic: str, partition: int | None = None) -> bool:
        """Whether records of the topic, or of this partition of it, are gone for good."""
        return any(name == topic and partition in (None, number) for name, number in self.incomplete)

    def lacks_inputs(self, partition: int) -> bool:
        """Whether a customer's past may be gone in part."""
        return partition in self.emptied or any(
            self.lacks(name, partition) for name in (TRANSACTIONS.name, OUTCOMES.name)
        )

    def took(self, place: tuple[str, int, int]) -> bool:
        """Whether a record lay there that the log no longer has."""
        return 0 <= place[2] < self.beginnings.get(place[:2], 0)

    @property
    def records(self) -> dict[str, int]:
        """Topic → how many offsets are gone."""
        counts: Counter[str] = Counter()
        for (topic, _), first in self.beginnings.items():
            counts[topic] += first
        return dict(counts)


def expired_of(beginnings: Beginnings, rows: Mapping[str, Iterable[Row]], letters: Iterable[Row]) -> Expired:
    """`rows`: topic → rows of its typed table below the beginnings, in order of their offsets within each partition.
    `letters`: all rows of the dead letters."""
    found = Expired({place: first for place, first in beginnings.items() if first > 0})
    accounted: dict[tuple[str, int], set[int]] = {place: set() for place in found.beginnings}
    first_letters = {place: first for place, first in found.beginnings.items() if place[0] == DEAD_LETTERS.name}
    for row in letters:
        source = (row["source_topic"], row["source_partition"], row["source_offset"])
        if is_undecided(source[0], row["reason"]):
            found.undecided.add(source)  # and has its row
        elif source[2] is not None and source[2] < found.beginnings.get(source[:2], 0):
            accounted[source[:2]].add(source[2])
        if row["kafka_offset"] is None:
            continue
        own = (DEAD_LETTERS.name, row["kafka_partition"])
        if row["kafka_offset"] < first_letters.get(own, 0):
            accounted[own].add(row["kafka_offset"])
            found.refused[source] = row["value_sha256"]
    for topic, of_topic in rows.items():
        for row in of_topic:
            place = (topic, row["kafka_partition"])
            if row["kafka_offset"] not in accounted[place]:  # a row that is there twice counts once
                accounted[place].add(row["kafka_offset"])
                _enter(found, topic, row)
    found.incomplete |= {place for place, first in found.beginnings.items() if _lacks(place, first, accounted[place])}
    return found


def is_undecided(topic: str, reason: str | None) -> bool:
    """Whether a letter refuses a vector its decision, and nothing else: the vector keeps its row."""
    return topic == FEATURES.name and reason == RejectionReason.CONFLICT.value


def _lacks(place: tuple[str, int], first: int, accounted: set[int]) -> bool:
    return place[0] in (*COUNTED, DEAD_LETTERS.name) and len(accounted) < first


def enter_loaded(found: Expired, purchases: Iterable[Row], outcomes: Iterable[Row]) -> None:
    """What was loaded in bulk lies before everything else of its customers, so before each vector's `as_of`."""
    bought = [(row["customer_id"], _buy(row)) for row in purchases]
    known = [(row["customer_id"], _known(row)) for row in outcomes]
    found.bought[:0] = bought
    found.outcomes[:0] = known


def _enter(found: Expired, topic: str, row: Row) -> None:
    if topic == FEATURES.name:
        event_id, place = row["event_id"], (topic, row["kafka_partition"], row["kafka_offset"])
        found.vectors[event_id] = found.vectors.get(event_id, False) or place not in found.undecided
    elif topic == DECISIONS.name:
        found.decisions.add(row["event_id"])
    elif row["misplaced"]:
        pass  # judged where it was sent again
    elif topic == TRANSACTIONS.name:
        found.events.append((row["event_id"], row["source"] or "producer"))
        if row["customer_id"] is None:
            found.emptied.add(row["kafka_partition"])
        else:
            found.bought.append((row["customer_id"], _buy(row)))
    elif row["customer_id"] is None:
        found.emptied.add(row["kafka_partition"])
    else:
        found.outcomes.append((row["customer_id"], _known(row)))


def _known(row: Row) -> Known:
    day = _micros(row["observed_at"]) // 86_400_000_000
    return Known(_offset(row), row["event_id"], day, bool(row["defaulted"]))


def _offset(row: Row) -> int:
    return BEFORE_THE_LOG if row["kafka_offset"] is None else int(row["kafka_offset"])


def _buy(row: Row) -> Buy:
    return Buy(
        offset=_offset(row),
        t=_micros(row["occurred_at"]),
        minor=round(row["amount"] * 10 ** DIGITS.get(row["currency"], 2)),
        currency=row["currency"],
        device=row["device_id"],
        category=row["product_category"],
        method=row["payment_method_id"],
        count=row["installments_count"] or 4,
        period=PERIODS.get(row["installments_frequency"] or "bi_weekly", 14),
        event_id=row["event_id"],
    )


def body_of(row: Row) -> dict[str, Any]:
    """A typed row as the purchase that it was made from, but for blocks that were sent empty."""
    body: dict[str, Any] = {
        "occurred_at": identity.canonical_time(row["occurred_at"]),
        "amount": float(row["amount"]),
        "currency": row["currency"],
    }
    for block, kind in BLOCK_TYPES.items():
        fields = {name: row[f"{block}_{name}"] for name in kind.__struct_fields__}
        if any(value is not None for value in fields.values()):
            body[block] = fields
    return body


def _micros(time: datetime) -> int:
    return identity.epoch_micros(identity.canonical_time(time))
