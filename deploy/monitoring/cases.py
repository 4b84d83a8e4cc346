"""When each alert has to be quiet, fire and clear: the tests of the rules, for `promtool test rules`.

Each case has three parts of time: all is well, something is wrong, all is well again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from deploy.monitoring.alerts import ALWAYS
from deploy.monitoring.objectives import OBJECTIVES, Objective
from deploy.monitoring.rules import annotations_of

WELL, WRONG, AGAIN = 60, 70, 600
"""Minutes of each part: the first longer than a fast burn's short windows, the last than a slow one's (6 hours)."""

LOOK_EVERY = 10
"""Minutes. Rules are evaluated more often than that in earnest; here it would only take longer."""

Phases = tuple[float, float, float]
"""A gauge's value, or by how much a counter rises in a minute, in each part."""


def counter(phases: Phases, parts: Sequence[int] = (WELL, WRONG, AGAIN)) -> str:
    value, texts = 0.0, []
    for minutes, step in zip(parts, phases, strict=True):
        texts.append(f"{value + step:g}+{step:g}x{minutes - 1}")
        value += step * minutes
    return " ".join(texts)


def gauge(phases: Phases) -> str:
    return " ".join(f"{value:g}+0x{minutes - 1}" for minutes, value in zip((WELL, WRONG, AGAIN), phases, strict=True))


@dataclass(frozen=True, slots=True)
class Case:
    """One alert on a single condition. `labels`: of the alert that fires, beside its severity."""

    alert: str
    severity: str
    series: Mapping[str, str]
    labels: Mapping[str, str] = field(default_factory=dict)
    fires_at: int = WELL + WRONG - 2
    """Minutes. Before the end of the second part: what counts over a window may clear before the third has passed."""
    cleared_at: int = WELL + WRONG + 30


def _on_off(metric: str, alert: str, severity: str, **labels: str) -> Case:
    """A gauge that is 1 while something is wrong."""
    return Case(alert, severity, {metric: gauge((0, 1, 0))}, labels)


def _up(without: str) -> dict[str, str]:
    """All that always run but one."""
    return {f'up{{job="{job}",instance="a"}}': gauge((1, 1, 1)) for job in ALWAYS if job != without}


DECIDED = 'flit_decisions_total{channel="stream",decision="approve",variant="",degraded=""}'
ROWS = 'flit_sink_rows_total{table="flit_ml_raw.raw_bnpl_prediction_logs"}'
MONITOR = 'job="trainer",instance="a"'
CONCERN = f'flit_monitor_concern{{concern="drift",{MONITOR}}}'
LOOKED = {f"flit_monitor_as_of_timestamp_seconds{{{MONITOR}}}": counter((60, 60, 60))}
"""A monitor, and the stream's time of its last look."""
DAY_MINUTES = 1440

CASES = (
    Case("ServiceDown", "page", {'up{job="scorer",instance="a"}': gauge((1, 0, 1)),
                                 'up{job="trainer",instance="b",optional="yes"}': gauge((0, 0, 0)),
                                 'up{job="of-others",instance="c"}': gauge((0, 0, 0)), **_up("scorer")},
         {"job": "scorer", "instance": "a"}),
    # Its target goes with it.
    Case("ServiceDown", "page", {'up{job="sink",instance="a"}': f"1+0x{WELL - 1} _x{WRONG} 1+0x{AGAIN - 1}",
                                 **_up("sink")},
         {"job": "sink"}),
    Case("ServiceRestarts", "ticket", {'process_start_time_seconds{job="sink",instance="a"}': counter((0, 1, 0)),
                                       'process_start_time_seconds{job="of-others",instance="c"}': counter((1, 1, 1))},
         {"job": "sink", "instance": "a"}),
    Case("ConsumerLag", "page",
         {f'flit_consumer_lag_records{{service="sink",topic="bnpl-features",partition="{partition}"}}':
              gauge((100, 3000, 100)) for partition in (0, 1)},
         {"service": "sink", "topic": "bnpl-features"}),
    Case("StreamStalled", "page",
         {'flit_consumer_lag_records{service="features",topic="bnpl-transactions",partition="0"}': gauge((7, 7, 7)),
          'flit_events_total{service="features",topic="bnpl-transactions",result="ok"}': counter((6, 0, 6)),
          # Another topic of the same service goes on.
          'flit_events_total{service="features",topic="bnpl-outcomes",result="ok"}': counter((6, 6, 6))},
         {"service": "features", "topic": "bnpl-transactions"}),
    _on_off('flit_scorer_halted{topic="bnpl-features"}', "TopicHalted", "page", topic="bnpl-features"),
    _on_off('flit_features_halted{topic="bnpl-outcomes"}', "TopicHalted", "page", topic="bnpl-outcomes"),
    _on_off('flit_features_rebuilding{partition="2"}', "StatesRebuilding", "ticket", partition="2"),
    Case("RebuildGaps", "ticket",
         {'flit_features_rebuild_gaps{topic="bnpl-transactions",partition="1"}': gauge((0, 7, 0))},
         {"topic": "bnpl-transactions", "partition": "1"}),
    _on_off('flit_degraded{service="scorer"}', "NoModel", "page"),
    Case("ModelRefused", "ticket", {'flit_scorer_model_refused_total{reason="hash"}': counter((0, 6, 0))},
         {"reason": "hash"}),
    # In these tests time begins in 1970: a model of 46 days before that is old, one of the day is not.
    Case("ModelOld", "ticket", {'flit_model_trained_timestamp_seconds{version="a"}': gauge((0, -46 * 86_400, 0))}),
    Case("FeatureDrift", "ticket", {f'flit_drift_score{{feature="amount",{MONITOR}}}': gauge((0.02, 0.3, 0.02)),
                                    CONCERN: gauge((0, 1, 0)), **LOOKED},
         {"feature": "amount"}),
    Case("RedisFull", "page", {"flit_scorer_redis_memory_ratio": gauge((0.5, 0.85, 0.5))}),
    Case("PolicyRefused", "ticket", {"flit_scorer_policy_refused_total": counter((0, 6, 0))}),
    _on_off('flit_scorer_limiter_holds{what="declines"}', "LimiterHolds", "ticket", what="declines"),
    Case("ExperimentUnwatched", "ticket", {'flit_guard_looks_total{result="failed"}': counter((0, 2, 0)),
                                           'flit_guard_looks_total{result="kept"}': counter((2, 0, 2))}),
    Case("ExperimentUnwatched", "ticket", {'flit_decisions_total{variant="canary"}': counter((60, 60, 60)),
                                           'flit_guard_looks_total{result="kept"}': counter((2, 0, 2))}),
    Case("ModelsUnwatched", "ticket", {'flit_watch_rounds_total{result="failed"}': counter((0, 2, 0)),
                                       'flit_watch_rounds_total{result="idle"}': counter((2, 0, 2))}),
    # Its process answers all the time; for eight hours no round ends.
    Case("ModelsUnwatched", "ticket", {'process_start_time_seconds{job="trainer",instance="a"}': "0+0x1200",
                                       'flit_watch_rounds_total{result="idle"}': "0+2x60 120+0x480 122+2x600"},
         fires_at=60 + 480 - 10, cleared_at=60 + 480 + 60),
    Case("ModelConcern", "ticket",
         {f'flit_monitor_concern{{concern="broken input",{MONITOR}}}': gauge((0, 1, 0)), **LOOKED},
         {"concern": "broken input"}),
    _on_off('flit_sink_waiting{table="flit_ml_raw.features",partition="0"}', "SinkWaits", "page",
            table="flit_ml_raw.features", partition="0"),
    Case("SinkWritesNothing", "page", {DECIDED: counter((60, 60, 60)), ROWS: counter((60, 0, 60))}),
    Case("LedgerUnbalanced", "page", {'flit_ledger_violations_records{check="P3"}': gauge((0, 4, 0))},
         {"check": "P3"}),
    # The audits stop after a day, and begin again on the third.
    Case("LedgerSilent", "ticket",
         {"flit_ledger_last_audit_timestamp_seconds":
              f"0+60x{DAY_MINUTES} {DAY_MINUTES * 60}+0x{DAY_MINUTES + 60} {2 * DAY_MINUTES * 60 + 3660}+60x120"},
         fires_at=2 * DAY_MINUTES + 30, cleared_at=2 * DAY_MINUTES + 120),
    # Nor are they forgotten where nobody begins again for five days.
    Case("LedgerSilent", "ticket",
         {"flit_ledger_last_audit_timestamp_seconds":
              f"0+60x{DAY_MINUTES} _x{5 * DAY_MINUTES} {6 * DAY_MINUTES * 60 + 60}+60x120"},
         fires_at=6 * DAY_MINUTES - 30, cleared_at=6 * DAY_MINUTES + 60),
    # Whoever found it is named, as far as he has labels, and nobody else.
    Case("FeaturesMismatch", "page",
         {'flit_feature_mismatch_ratio{job="ledger",instance="a",pod="b",container="c"}': gauge((0, 0.01, 0)),
          'flit_feature_mismatch_ratio{job="trainer",instance="d"}': gauge((0, 0, 0))},
         {"job": "ledger", "instance": "a", "pod": "b"}),
    Case("FeaturesMismatch", "page",
         {'flit_feature_mismatch_ratio{job="trainer",instance="d"}': gauge((0, 0.01, 0))},
         {"job": "trainer", "instance": "d"}),
    Case("SourceAway", "ticket", {"flit_ingestor_connected": gauge((1, 0, 1))}),
    Case("NothingIngested", "page",
         {'flit_events_total{service="ingestor",topic="bnpl-transactions",result="acknowledged"}': counter((6, 0, 6)),
          "flit_ingestor_connected": gauge((1, 1, 1))}),
    _on_off("flit_ingestor_source_stopped", "SourceStopped", "page"),
)  # fmt: skip


def _histogram(metric: str, bound: str, labels: str = "") -> tuple[str, str]:
    """The series of what is within the bound, and of all."""
    return f'{metric}_bucket{{{labels}le="{bound}"}}', f"{metric}_count{{{labels.rstrip(',')}}}"


_WITHIN = {
    "CheckoutSlow": _histogram("flit_decision_seconds", "0.1", 'channel="rest",'),
    "DecisionsLate": _histogram("flit_event_to_decision_seconds", "0.15"),
    "FeaturesStale": _histogram("flit_feature_age_seconds", "0.1"),
    "RowsLate": _histogram("flit_sink_visible_seconds", "10.0", 'topic="risk-decisions",'),
}
_BAD = {
    "CheckoutFails": 'flit_scorer_checkouts_total{status="503"}',
    "DecisionsDegraded": 'flit_decisions_total{channel="stream",decision="review",variant="",degraded="no_model"}',
    "RecordsRefused": 'flit_dead_letters_total{service="features",reason="range"}',
}
_GOOD = {
    "CheckoutFails": 'flit_scorer_checkouts_total{status="200"}',
    "DecisionsDegraded": DECIDED,
    "RecordsRefused": 'flit_events_total{service="features",topic="bnpl-transactions",result="ok"}',
}


def series_of(objective: Objective, good: Phases, bad: Phases) -> dict[str, str]:
    """Events in a minute, in each part of the time."""
    if objective.alert in _WITHIN:
        within, everything = _WITHIN[objective.alert]
        total = (good[0] + bad[0], good[1] + bad[1], good[2] + bad[2])
        return {within: counter(good), everything: counter(total)}
    return {_GOOD[objective.alert]: counter(good), _BAD[objective.alert]: counter(bad)}


def test_document() -> dict[str, Any]:
    """What `promtool test rules` takes."""
    tests = [*(_test(case) for case in CASES), _by_chance(), _without_a_monitor(), *_replaced()]
    for objective in OBJECTIVES:
        tests += [_outage(objective), _leak(objective), _too_few(objective)]
    return {
        "rule_files": ["recording.yml", "alerts.yml"],
        "evaluation_interval": f"{LOOK_EVERY}m",
        # Else it is left to chance, and what was recorded ten minutes ago is too old for the alerts.
        "group_eval_order": ["objectives", "budgets", "conditions"],
        "tests": tests,
    }


def _test(case: Case) -> dict[str, Any]:
    looks = [
        _look(WELL - 1, case.alert, []),
        _look(case.fires_at, case.alert, [{"severity": case.severity, **case.labels}]),
        _look(case.cleared_at, case.alert, []),
    ]
    return _of(case.alert, case.series, looks)


def _by_chance() -> dict[str, Any]:
    """A score that is high all the time, and a monitor that sees no more in it than chance."""
    series = {f'flit_drift_score{{feature="amount",{MONITOR}}}': gauge((0.3, 0.3, 0.3)), CONCERN: gauge((0, 0, 0)),
              **LOOKED}  # fmt: skip
    return _of("FeatureDrift: by chance", series, [_look(WELL + WRONG - 2, "FeatureDrift", [])])


def _without_a_monitor() -> dict[str, Any]:
    """The same, told by a command that has no opinion."""
    fires = [{"severity": "ticket", "feature": "amount"}]
    series = {'flit_drift_score{feature="amount"}': gauge((0.3, 0.3, 0.3))}
    return _of("FeatureDrift: without a monitor", series, [_look(WELL + WRONG - 2, "FeatureDrift", fires)])


def _replaced() -> list[dict[str, Any]]:
    """Pods of the monitor: the first has found something and is replaced, the second finds it mended, but only once it
    has looked."""
    first, second = ('job="trainer",instance="a"', 'job="trainer",instance="b"')
    gone, begins, looks = WELL, WELL + 10, WELL + 60
    as_of, later = "flit_monitor_as_of_timestamp_seconds", f"_x{looks}"
    fires = {
        "ModelConcern": {"concern": "broken input", "severity": "ticket"},
        "FeatureDrift": {"feature": "amount", "severity": "ticket"},
    }
    series = {
        f"{as_of}{{{first}}}": f"1000+60x{gone - 1}",
        f"{as_of}{{{second}}}": f"_x{begins} 0+0x{looks - begins - 1} 9000+60x{AGAIN}",
    }
    for name, high, low in (
        ('flit_monitor_concern{concern="broken input",', 1, 0),
        ('flit_monitor_concern{concern="drift",', 1, 1),
        ('flit_drift_score{feature="amount",', 0.3, 0.02),
    ):
        series |= {f"{name}{first}}}": f"{high}+0x{gone - 1}", f"{name}{second}}}": f"{later} {low}+0x{AGAIN}"}
    return [
        _of(
            f"{alert}: the monitor's pod is replaced",
            series,
            [_look(gone - 1, alert, [labels]), _look(looks - 1, alert, [labels]), _look(looks + 30, alert, [])],
        )
        for alert, labels in fires.items()
    ]


def _outage(objective: Objective) -> dict[str, Any]:
    """Half of all events are bad for an hour and ten: a page at once, and a ticket until six hours later."""
    page, ticket = {"severity": "page"}, {"severity": "ticket"}
    looks = [
        _look(WELL - 1, objective.alert, []),
        _look(WELL + WRONG - 2, objective.alert, [page, ticket]),
        _look(WELL + WRONG + 40, objective.alert, [ticket]),
        _look(WELL + WRONG + 400, objective.alert, []),
    ]
    series = series_of(objective, (600, 300, 600), (0, 300, 0))
    return _of(f"{objective.alert}: half of all are bad", series, looks)


def _leak(objective: Objective) -> dict[str, Any]:
    """Twice as many are bad as may be: nobody is woken."""
    bad = 2 * objective.budget * 6000
    looks = [_look(WELL + WRONG - 2, objective.alert, [{"severity": "ticket"}])]
    series = series_of(objective, (6000 - bad,) * 3, (bad,) * 3)
    return _of(f"{objective.alert}: twice the budget", series, looks)


def _too_few(objective: Objective) -> dict[str, Any]:
    """A third of a quiet hour's events are bad, and there are fewer than ten of them."""
    series = series_of(objective, (0.25, 0.25, 0.25), (0, 0.125, 0))
    return _of(f"{objective.alert}: too few to tell", series, [_look(WELL + WRONG - 2, objective.alert, [])])


def _of(name: str, series: Mapping[str, str], looks: Sequence[dict[str, Any]]) -> dict[str, Any]:
    given = [{"series": each, "values": values} for each, values in series.items()]
    return {"name": name, "interval": "1m", "input_series": given, "alert_rule_test": list(looks)}


def _look(minute: int, alert: str, labels: Sequence[Mapping[str, str]]) -> dict[str, Any]:
    expected = [{"exp_labels": dict(each), "exp_annotations": annotations_of(alert)} for each in labels]
    return {"eval_time": f"{minute}m", "alertname": alert, "exp_alerts": expected}
