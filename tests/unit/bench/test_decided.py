"""What a fallback answers doesn't pass for a decision of the model."""

from __future__ import annotations

import pytest
from prometheus_client import CollectorRegistry, Counter, generate_latest

from shared.telemetry.metrics import DECISIONS
from tests.bench import decided, latency
from tests.bench.decided import Decided
from tests.bench.load import Answers
from tests.bench.rest import check_decided


def samples(by_model: int, by_fallback: int) -> dict[str, float]:
    """As a scorer's page has them, by the labels that it counts with."""
    registry = CollectorRegistry()
    counter = Counter("flit_decisions_total", "of this test", DECISIONS._labelnames, registry=registry)
    for degraded, count in (("", by_model), ("rebuilding", by_fallback)):
        for channel in ("rest", "stream"):
            counter.labels(decision="approve", variant="champion", degraded=degraded, channel=channel).inc(count)
    lines = [line for line in generate_latest(registry).decode().splitlines() if not line.startswith("#")]
    return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines)}


def test_decisions_are_told_apart_by_who_made_them_over_both_doors() -> None:
    assert Decided.of(samples(40, 3)) == Decided(by_model=80, by_fallback=6)
    assert Decided.of({'flit_degraded{service="scorer"}': 1.0}) == Decided(0, 0)
    assert Decided(80, 6).since(Decided(70, 6)) == Decided(10, 0)


def test_a_scorer_that_says_nothing_has_not_decided_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decided, "metrics_of", lambda _: {})
    with pytest.raises(AssertionError, match="no metrics"):
        Decided.at(1)


@pytest.mark.parametrize(
    ("made", "by_fallback", "passes"),
    [
        (Decided(9, 0), False, True),
        (Decided(8, 1), False, False),
        (Decided(8, 0), False, False),
        (Decided(0, 9), True, True),
        (Decided(1, 8), True, False),
        (Decided(9_990, 10), False, True),
        (Decided(9_989, 11), False, False),
    ],
)
def test_a_round_is_decided_by_the_one_that_is_measured(made: Decided, by_fallback: bool, passes: bool) -> None:
    answers = Answers(took_s=[0.01] * 10, status_of=[200] * 9 + [503])
    if passes:
        check_decided(answers, made, by_fallback=by_fallback)
    else:
        with pytest.raises(AssertionError):
            check_decided(answers, made, by_fallback=by_fallback)


@pytest.mark.parametrize(("at_last", "passes"), [(Decided(103, 5), True), (Decided(102, 6), False)])
async def test_events_are_looked_at_once_all_are_counted(
    monkeypatch: pytest.MonkeyPatch, at_last: Decided, passes: bool
) -> None:
    looks = iter([Decided(100, 5), Decided(101, 5), at_last, at_last])
    monkeypatch.setattr(Decided, "at", lambda _: next(looks))

    async def measure() -> list[int]:
        return [4, 5, 9]

    if passes:
        assert await latency._by_model(1, 3, measure) == [4, 5, 9]
    else:
        with pytest.raises(AssertionError, match="by_fallback=1"):
            await latency._by_model(1, 3, measure)
