from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.scorer.admission import Admission
from services.scorer.door import Door
from services.scorer.keys import Access, Caller, Scope
from services.scorer.problems import Problem
from services.scorer.rate import Rate, TokenBuckets
from tests.unit.scorer.fakes import Outside
from tests.unit.scorer.rest import client_of

RATE = Rate(per_second=10.0, burst=5)


class Clock:
    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def test_a_burst_passes_and_the_next_one_is_told_how_long_to_wait() -> None:
    clock = Clock()
    buckets = TokenBuckets(clock)
    assert [buckets.take("shop", RATE) for _ in range(6)] == [0.0] * 5 + [0.1]
    clock.now_s += 0.1
    assert buckets.take("shop", RATE) == 0.0


def test_callers_have_buckets_of_their_own() -> None:
    buckets = TokenBuckets(Clock())
    for _ in range(5):
        buckets.take("shop", RATE)
    assert buckets.take("shop", RATE) > 0
    assert buckets.take("other", RATE) == 0.0


def test_keys_of_one_owner_with_rates_of_their_own_neither_drain_nor_fill_each_other() -> None:
    slow = Caller("shop", frozenset({Scope.DECIDE}), Rate(1.0, 2))
    fast = Caller("shop", frozenset({Scope.DECIDE}), Rate(1000.0, 400))
    admission = Admission(most=1, within_s=1.0)
    door = Door(Access(None), admission, RATE, read_seconds=1.0, max_arriving=1, deadline_s=1.0)
    for _ in range(400):
        door.charge(fast, 1)
    door.charge(slow, 2)
    with pytest.raises(Problem):
        door.charge(slow, 1)


@given(st.lists(st.floats(0.0, 3.0), min_size=1, max_size=200))
def test_no_more_passes_than_the_burst_and_the_rate_allow(pauses: list[float]) -> None:
    clock = Clock()
    buckets = TokenBuckets(clock)
    passed = 0
    for pause in pauses:
        clock.now_s += pause
        passed += buckets.take("shop", RATE) == 0.0
    assert passed <= RATE.burst + sum(pauses) * RATE.per_second + 1e-6


async def test_a_caller_who_asks_too_often_is_told_when_to_come_back() -> None:
    async with client_of(Outside().checkout(), rate=Rate(0.5, 2)) as client:
        for _ in range(2):
            assert (await client.get("/v1/decisions/unknown")).status_code == 404
        refused = await client.get("/v1/decisions/unknown")
    assert (refused.status_code, refused.json()["reason"]) == (429, "rate")
    assert refused.headers["retry-after"] == "2"


@given(purchases=st.integers(1, 1000), burst=st.integers(1, 1200))
def test_a_batch_of_any_size_passes_a_bucket_that_was_full(purchases: int, burst: int) -> None:
    """Its own request is charged first, before its body is read."""
    clock, rate = Clock(), Rate(per_second=1.0, burst=burst)
    buckets = TokenBuckets(clock)
    assert buckets.take("shop", rate) == 0.0
    assert buckets.take("shop", rate, purchases - 1, taken=1) == 0.0
    clock.now_s += max(0.0, purchases - burst)
    assert buckets.take("shop", rate) == (1.0 if purchases >= burst else 0.0), "and it is paid for"
