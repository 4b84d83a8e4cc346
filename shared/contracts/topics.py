"""The topics, declared once; the same declaration creates them everywhere."""

from __future__ import annotations

from dataclasses import dataclass

DAY_MS = 86_400_000
OLDEST_RECORD_MS = 100 * DAY_MS
"""Of a record's own time, when a broker gets it: by the time that it is given the brokers keep it."""

DEFAULT_PARTITIONS = 4
"""Of every topic, unless an installation sets another count before its topics are made."""


@dataclass(frozen=True, slots=True)
class Topic:
    """A Kafka topic. All topics have the same partition count, so partition N means the same customers in each."""

    name: str
    retention_ms: int
    """How long records stay; -1 for ever. Claims and rebuilds are bounded by it."""
    written_by: tuple[str, ...]
    read_by: tuple[str, ...]
    about: str


TRANSACTIONS = Topic(
    "bnpl-transactions",
    400 * DAY_MS,
    ("ingestor", "scorer", "producers"),
    ("features", "sink"),
    "Purchases asked for",
)
OUTCOMES = Topic(
    "bnpl-outcomes",
    400 * DAY_MS,
    ("ingestor", "repayment system"),
    ("features", "sink"),
    "What was repaid, and when known",
)
FEATURES = Topic("bnpl-features", 30 * DAY_MS, ("features",), ("scorer", "sink"), "Feature vectors of purchases")
DECISIONS = Topic(
    "risk-decisions",
    400 * DAY_MS,
    ("scorer",),
    ("sink", "consumers", "case management"),
    "One decision for each purchase",
)
DECISION_UPDATES = Topic(
    "decision-updates",
    400 * DAY_MS,
    ("scorer", "console"),
    ("features", "sink", "trainer", "case management"),
    "Verdicts and cancellations",
)
DEAD_LETTERS = Topic(
    "dead-letters",
    90 * DAY_MS,
    ("ingestor", "features", "scorer"),
    ("sink", "operators"),
    "Refused records, replayable",
)

ALL: tuple[Topic, ...] = (TRANSACTIONS, OUTCOMES, FEATURES, DECISIONS, DECISION_UPDATES, DEAD_LETTERS)
BY_NAME: dict[str, Topic] = {topic.name: topic for topic in ALL}
