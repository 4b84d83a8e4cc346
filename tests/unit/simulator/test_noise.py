from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from services.simulator import noise
from tests.unit.simulator import recordings, streams


def factors_of_unity(events: list[dict[str, Any]]) -> list[float]:
    """What a true `device_is_trusted` was multiplied by: the noise itself."""
    return [event["device_is_trusted"] for event in events if event["device_is_trusted"] != 0]


async def noisy(kind: str, level: float) -> list[dict[str, Any]]:
    return await streams.history(streams.request(noise_type=kind, noise_level=level, base_daily_volume=2000))


async def test_noise_turns_the_same_fields_into_floats_as_recorded() -> None:
    def floats(events: Any) -> set[str]:
        return {name for event in events for name, value in event.items() if isinstance(value, float)}

    ours, recorded = await noisy("outliers", 0.05), recordings.events(recordings.OUTLIERS)
    assert floats(ours) == floats(recorded)
    assert {type(event["will_default"]) for event in ours} == {float}
    assert [event["_record_id"] for event in ours] == list(range(len(ours)))


async def test_the_outliers_are_as_many_and_as_large_as_recorded() -> None:
    for events in (await noisy("outliers", 0.05), recordings.events(recordings.OUTLIERS)):
        factors = np.array(factors_of_unity(list(events)))
        outliers = factors[np.abs(factors - 1) > 0.1]
        assert len(outliers) / len(factors) == pytest.approx(0.05, abs=0.015)
        assert np.abs(outliers).min() >= 2.0 and np.abs(outliers).max() <= 5.0
        assert 0.25 < (outliers < 0).mean() < 0.75
        assert np.std(factors[np.abs(factors - 1) <= 0.1]) == pytest.approx(0.01, rel=0.1)


async def test_noise_parts_the_amount_from_the_price_and_touches_labels() -> None:
    events = await noisy("outliers", 0.05)
    assert all(event["amount"] != event["product_price"] for event in events)
    assert any(event["amount"] < 0 for event in events)
    assert any(event["will_default"] not in (0.0, 1.0) for event in events)
    assert any(math.copysign(1.0, event["economic_stress_factor"]) < 0 for event in events), "no -0.0"


async def test_gaussian_and_uniform_noise_have_the_asked_width() -> None:
    assert np.std(factors_of_unity(await noisy("gaussian", 0.2))) == pytest.approx(0.2, rel=0.1)
    flat = factors_of_unity(await noisy("uniform", 0.2))
    assert 0.8 <= min(flat) < 0.81 and 1.19 < max(flat) <= 1.2


async def test_noise_changes_numbers_and_nothing_else() -> None:
    clean = await streams.history(streams.request())
    disturbed = await streams.history(streams.request(noise_type="gaussian"))
    texts = [{name: value for name, value in event.items() if isinstance(value, str)} for event in clean]
    assert [{n: v for n, v in event.items() if isinstance(v, str)} for event in disturbed] == texts


def test_no_noise_multiplies_by_one() -> None:
    assert noise.factors("none", 0.5, 3, np.random.default_rng(1)).tolist() == [1.0, 1.0, 1.0]
