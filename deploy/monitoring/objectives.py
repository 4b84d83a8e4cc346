"""Service-level objectives: what share of which events has to be good (docs/operations/observability.md: why).

An alert goes by how fast the budget of bad events is used up, over a long window (so that it matters) and a short one
(so that it ends soon after the trouble). Windows and factors: Google, The Site Reliability Workbook, chapter 5, table
5-8, for a budget of 30 days.
"""

from __future__ import annotations

from dataclasses import dataclass


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

LEAST_EVENTS = 100
"""In the long window. Of fewer, one bad event alone would be a burnt budget."""


@dataclass(frozen=True, slots=True)
class Objective:
    """`bad` and `total`: PromQL counters per second, with `{window}` in them."""

    alert: str
    record: str
    """What the share of bad events is recorded as: flit:<record>:ratio_rate<window>."""
    target: float
    bad: str
    total: str
    summary: str

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


def slower_than(metric: str, seconds: str, labels: str = "") -> tuple[str, str]:
    """Bad and total of a histogram: observations above one of its bounds, and all."""
    own = f"{labels}," if labels else ""
    total = f"sum(rate({metric}_count{{{labels}}}[{{window}}]))"
    return f'({total} - sum(rate({metric}_bucket{{{own}le="{seconds}"}}[{{window}}])))', total


_CHECKOUT_SLOW = slower_than("flit_decision_seconds", "0.1", 'channel="rest"')
_DECISIONS_LATE = slower_than("flit_event_to_decision_seconds", "0.15")
_FEATURES_STALE = slower_than("flit_feature_age_seconds", "0.1")
_ROWS_LATE = slower_than("flit_sink_visible_seconds", "10.0")

OBJECTIVES = (
    Objective(
        "CheckoutFails",
        "checkout_failed",
        0.9995,
        'sum(rate(flit_scorer_answers_total{status=~"5.."}[{window}]))',
        "sum(rate(flit_scorer_answers_total[{window}]))",
        "Checkouts get errors in place of answers, faster than the 99.95% objective allows.",
    ),
    Objective(
        "CheckoutSlow",
        "checkout_slow",
        0.99,
        *_CHECKOUT_SLOW,
        "More than one checkout in a hundred waits longer than 100 ms for its decision.",
    ),
    Objective(
        "DecisionsLate",
        "decision_late",
        0.99,
        *_DECISIONS_LATE,
        "More than one purchase in a hundred on the stream waits longer than 150 ms for its decision.",
    ),
    Objective(
        "FeaturesStale",
        "features_stale",
        0.99,
        *_FEATURES_STALE,
        "More than one decision in a hundred is made on features that are older than 100 ms.",
    ),
    Objective(
        "DecisionsDegraded",
        "decision_degraded",
        0.999,
        'sum(rate(flit_decisions_total{degraded!=""}[{window}]))',
        "sum(rate(flit_decisions_total[{window}]))",
        "The policy's fallback decides in place of the model, for more than one purchase in a thousand.",
    ),
    Objective(
        "RecordsRefused",
        "record_refused",
        0.99,
        "sum(rate(flit_dead_letters_total[{window}]))",
        'sum(rate(flit_events_total{service="features"}[{window}]))',
        "More than one record in a hundred is refused into dead-letters.",
    ),
    Objective(
        "RowsLate",
        "row_late",
        0.99,
        *_ROWS_LATE,
        "Rows reach the warehouse later than 10 seconds after their records.",
    ),
)
