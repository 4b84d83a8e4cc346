"""The stream of late: how many decisions, which, how fast, and how many of them by a fallback."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from services.console.queries.query import Row
from shared.contracts.events import Verdict

VERDICTS = tuple(verdict.value for verdict in Verdict)


@dataclass(frozen=True, slots=True)
class Span:
    """What is looked at."""

    label: str
    seconds: int
    step_s: int
    """Of a bar of the chart: some thirty of them are enough for an eye."""
    refresh_s: int
    """Between two looks: the longer the time, the more the warehouse reads for each, and the less one changes."""


SPANS = (
    Span("15 minutes", 900, 30, 5),
    Span("1 hour", 3_600, 120, 20),
    Span("6 hours", 21_600, 720, 60),
    Span("24 hours", 86_400, 2_880, 120),
)


@dataclass(frozen=True, slots=True)
class Bar:
    begins: datetime
    counts: Mapping[str, int]
    """By verdict."""


@dataclass(frozen=True, slots=True)
class Mix:
    bars: Sequence[Bar]
    counts: Mapping[str, int]
    fallbacks: int
    seconds: int

    @property
    def decisions(self) -> int:
        return sum(self.counts.values())

    @property
    def per_minute(self) -> float:
        return self.decisions / self.seconds * 60

    def share(self, verdict: str) -> float | None:
        return self.counts[verdict] / self.decisions if self.decisions else None

    @property
    def fallback_share(self) -> float | None:
        return self.fallbacks / self.decisions if self.decisions else None


def window(now: datetime, span: Span) -> tuple[datetime, datetime]:
    """Since when and until when: whole bars, so that the same question is asked again and a bar never shrinks."""
    last = int(now.timestamp()) // span.step_s + 1
    until = datetime.fromtimestamp(last * span.step_s, UTC)
    return until - timedelta(seconds=span.seconds), until


def mix(rows: Sequence[Row], since: datetime, until: datetime, step_s: int) -> Mix:
    """`rows` of `queries.decisions.mix`: an empty bar for each bucket without a decision."""
    by_bucket: dict[int, dict[str, int]] = {}
    for row in rows:
        by_bucket.setdefault(row["bucket"], dict.fromkeys(VERDICTS, 0))[row["verdict"]] = row["decisions"]
    first, beyond = int(since.timestamp()) // step_s, int(until.timestamp()) // step_s
    bars = [
        Bar(datetime.fromtimestamp(bucket * step_s, UTC), by_bucket.get(bucket, dict.fromkeys(VERDICTS, 0)))
        for bucket in range(first, beyond)
    ]
    counts = {verdict: sum(bar.counts[verdict] for bar in bars) for verdict in VERDICTS}
    fallbacks = sum(row["fallbacks"] for row in rows)
    return Mix(bars, counts, fallbacks, int((until - since).total_seconds()))


@dataclass(frozen=True, slots=True)
class Latency:
    """From the purchase's record to the decision's, in ms by Kafka's times."""

    of: int
    p50: float
    p95: float


def latency(decisions: Sequence[Row], purchases: Mapping[str, Row]) -> Latency | None:
    """Of these decisions; None where no purchase of theirs is known."""
    taken = sorted(
        (row["kafka_timestamp"] - purchase["kafka_timestamp"]).total_seconds() * 1000
        for row in decisions
        if (purchase := purchases.get(row["event_id"])) is not None
    )
    if not taken:
        return None
    return Latency(len(taken), *(taken[min(len(taken) - 1, len(taken) * percent // 100)] for percent in (50, 95)))
