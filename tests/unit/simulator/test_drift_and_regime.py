from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest

from services.simulator import drift
from services.simulator.request import StreamRequest
from tests.unit.simulator import streams

NOW = streams.TODAY
LONG_AGO = NOW - timedelta(days=60)


def factor(kind: str, start: datetime | None = LONG_AGO, compression: float = 1.0) -> float:
    request = StreamRequest.model_validate(
        {"drift_type": kind, "drift_strength": 0.5, "start_time": start, "time_compression": compression}
    )
    return drift.price_factor(request, NOW, NOW)


def mean(events: list[dict[str, Any]], field: str) -> float:
    return float(np.mean([event[field] for event in events]))


@pytest.mark.parametrize(
    ("kind", "expected"), [("none", 1.0), ("linear", 2.0), ("sudden", 1.5), ("seasonal", 1.43), ("gradual", 1.4988)]
)
def test_sixty_days_of_drift_move_prices_by_its_kind(kind: str, expected: float) -> None:
    assert factor(kind) == pytest.approx(expected, abs=0.01)


@pytest.mark.parametrize("kind", ["linear", "sudden", "seasonal", "gradual"])
def test_drift_does_not_show_without_a_start_in_the_past(kind: str) -> None:
    assert factor(kind, start=None) == pytest.approx(1.0, abs=0.01)


def test_compressed_time_drifts_faster() -> None:
    assert factor("linear", start=NOW - timedelta(days=1), compression=60.0) == pytest.approx(2.0)


def test_drift_refuses_a_zone_aware_start() -> None:
    with pytest.raises(TypeError):
        factor("linear", start=LONG_AGO.replace(tzinfo=UTC))


async def test_drift_goes_by_the_wall_clock_not_by_the_event_time() -> None:
    plain = await streams.history(streams.request())
    drifted = await streams.history(
        streams.request(drift_type="sudden", drift_strength=0.5, start_time=LONG_AGO.isoformat())
    )
    assert [event["amount"] for event in drifted] == pytest.approx(
        [1.5 * event["amount"] for event in plain], abs=0.006
    )
    assert all(event["amount"] == round(event["amount"], 2) == event["product_price"] for event in drifted)


CHANGE = "2026-06-11T00:00:00"


async def changed(kind: str, strength: float = 0.8) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Events before and after the change."""
    regime = [{"at": CHANGE, "kind": kind, "strength": strength}]
    events = await streams.history(streams.request(end_date="2026-06-20", base_daily_volume=1000, regime=regime))
    return [e for e in events if e["_timestamp"] < CHANGE], [e for e in events if e["_timestamp"] >= CHANGE]


async def test_a_change_of_attributes_brings_riskier_purchases_and_people() -> None:
    before, after = await changed("attributes")
    assert mean(before, "amount") < 150 < 175 < mean(after, "amount")
    assert mean(after, "risk_score") > mean(before, "risk_score") + 0.03
    assert sum(e["product_category"] == "electronics" for e in after) / len(after) > 0.8


async def test_a_change_of_the_law_shows_in_the_labels_alone() -> None:
    before, after = await changed("law", strength=1.0)
    assert mean(after, "risk_score") == pytest.approx(mean(before, "risk_score"), abs=0.005)
    assert mean(after, "amount") == pytest.approx(mean(before, "amount"), rel=0.05)
    assert mean(after, "will_default") > 1.4 * mean(before, "will_default")


async def test_before_a_change_nothing_differs_from_a_stream_without_it() -> None:
    plain = await streams.body(streams.request(end_date="2026-06-12"))
    regime = [{"at": CHANGE, "kind": "law", "strength": 1.0}]
    with_change = await streams.body(streams.request(end_date="2026-06-12", regime=regime))
    same = sum(event["_timestamp"] < CHANGE for event in streams.parse(plain))
    assert with_change[:same] == plain[:same]
    assert with_change != plain
