"""Service-level objectives: what share of which events has to be good (docs/operations/observability.md: why).

An alert goes by how fast the budget of bad events is used up, over a long window (so that it matters) and a short one
(so that it ends soon after the trouble). Windows and factors: Google, The Site Reliability Workbook, chapter 5, table
5-8, for a budget of 30 days.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Burn:
    """The budget goes `factor` times as fast as it lasts for its 30 days, over both windows."""

    factor: float
    long: str
    short: str


FAST = (Burn(14.4, "1h", "5m"), Burn(6, "6h", "30m"))
"""2% of the month's budget in an hour, 5% in six: somebody is woken."""
SLOW = (Burn(1, "3d", "6h"),)
"""10% in three days: somebody looks at it on a working day."""

WINDOWS = ("5m", "30m", "1h", "6h", "3d")

LEAST_BAD = 10
"""Bad events in the long window. On a quiet day a few of them are a large share, and tell of nothing that goes on."""


@dataclass(frozen=True, slots=True)
class Matcher:
    """Of a label, as PromQL has it; a pattern (`=~`) has to match the whole value."""

    label: str
    operator: Literal["=", "!=", "=~"]
    value: str


@dataclass(frozen=True, slots=True)
class Counter:
    """The series of one metric that all matchers agree to, summed."""

    metric: str
    labels: tuple[Matcher, ...] = ()

    @property
    def rate(self) -> str:
        """PromQL, per second, with `{window}` in it."""
        chosen = ",".join(f'{each.label}{each.operator}"{each.value}"' for each in self.labels)
        return f"sum(rate({self.metric}{f'{{{chosen}}}' if chosen else ''}[{{window}}]))"


@dataclass(frozen=True, slots=True)
class Objective:
    """A share of the events that `everything` counts has to be good. `part` counts some of them: the `part_is` ones."""

    alert: str
    record: str
    """What the share of bad events is recorded as: flit:<record>:ratio_rate<window>."""
    target: float
    everything: Counter
    part: Counter
    part_is: Literal["good", "bad"]
    summary: str

    @property
    def bad(self) -> str:
        """PromQL, per second, with `{window}` in it."""
        return self.part.rate if self.part_is == "bad" else f"({self.total} - {self.part.rate})"

    @property
    def total(self) -> str:
        """PromQL, per second, with `{window}` in it."""
        return self.everything.rate

    @property
    def bound_s(self) -> float:
        """How long a good one may take; infinite where the objective isn't about time."""
        return next((float(each.value) for each in self.part.labels if each.label == "le"), math.inf)

    @property
    def budget(self) -> float:
        """The share of events that may be bad."""
        return round(1 - self.target, 6)

    def recorded(self, window: str) -> str:
        return f"flit:{self.record}:ratio_rate{window}"

    def ratio(self, window: str) -> str:
        """None bad so far is a share of nought, not an unknown one."""
        bad, total = (text.replace("{window}", window) for text in (self.bad, self.total))
        return f"({bad} or vector(0)) / {total}"


def _within(metric: str, seconds: str, *labels: Matcher) -> tuple[Counter, Counter]:
    """Of a histogram: all observations, and those up to one of its bounds."""
    return Counter(f"{metric}_count", labels), Counter(f"{metric}_bucket", (*labels, Matcher("le", "=", seconds)))


_CHECKOUTS, _CHECKOUTS_IN_TIME = _within("flit_decision_seconds", "0.1", Matcher("channel", "=", "rest"))
_DECISIONS, _DECISIONS_IN_TIME = _within("flit_event_to_decision_seconds", "0.15")
_VECTORS, _VECTORS_FRESH = _within("flit_feature_age_seconds", "0.1")
_ROWS, _ROWS_IN_TIME = _within("flit_sink_visible_seconds", "10.0")

OBJECTIVES = (
    Objective(
        "CheckoutFails",
        "checkout_failed",
        0.9995,
        # What is refused for what was sent, or for who sent it, is neither good nor bad of us.
        Counter("flit_scorer_checkouts_total", (Matcher("status", "=~", "200|5.."),)),
        Counter("flit_scorer_checkouts_total", (Matcher("status", "=~", "5.."),)),
        "bad",
        "Checkouts get errors in place of answers, faster than the 99.95% objective allows.",
    ),
    Objective(
        "CheckoutSlow",
        "checkout_slow",
        0.99,
        _CHECKOUTS,
        _CHECKOUTS_IN_TIME,
        "good",
        "More than one checkout in a hundred waits longer than 100 ms for its decision.",
    ),
    Objective(
        "DecisionsLate",
        "decision_late",
        0.99,
        _DECISIONS,
        _DECISIONS_IN_TIME,
        "good",
        "More than one purchase in a hundred on the stream waits longer than 150 ms for its decision.",
    ),
    Objective(
        "FeaturesStale",
        "features_stale",
        0.99,
        _VECTORS,
        _VECTORS_FRESH,
        "good",
        "More than one decision in a hundred is made on features that are older than 100 ms.",
    ),
    Objective(
        "DecisionsDegraded",
        "decision_degraded",
        0.999,
        Counter("flit_decisions_total"),
        Counter("flit_decisions_total", (Matcher("degraded", "!=", ""),)),
        "bad",
        "The policy's fallback decides in place of the model, for more than one purchase in a thousand.",
    ),
    Objective(
        "RecordsRefused",
        "record_refused",
        0.99,
        Counter("flit_events_total", (Matcher("service", "=", "features"),)),
        Counter("flit_dead_letters_total"),
        "bad",
        "More than one record in a hundred is refused into dead-letters.",
    ),
    Objective(
        "RowsLate",
        "row_late",
        0.99,
        _ROWS,
        _ROWS_IN_TIME,
        "good",
        "Rows reach the warehouse later than 10 seconds after their records.",
    ),
)
