"""When a topic is left alone, and when it isn't."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.kafka.refusal_limit import WINDOW_S, RefusalLimit, TooManyRefused


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_a_topic_that_brings_little_else_than_refusals_is_stopped_once_the_count_is_reached() -> None:
    limit = RefusalLimit(0.5, 100, Clock())
    limit.check({"t": (120, 110)})  # what passes the limit is still taken, or it never would be
    with pytest.raises(TooManyRefused, match="111 of the last 121 records of t would be refused"):
        limit.check({"t": (1, 1)})


def test_what_comes_again_since_another_topic_was_stopped_counts_once() -> None:
    limit = RefusalLimit(0.5, 100, Clock())
    limit.check({"other": (120, 110)})
    for _ in range(3):
        with pytest.raises(TooManyRefused, match="of other"):
            limit.check({"t": (90, 90), "other": (1, 1)})
        limit.check({"other": (120, 110)})
    limit.check({"t": (90, 90)})
    limit.check({"t": (9, 9)})


def test_after_a_stop_the_count_begins_anew() -> None:
    limit = RefusalLimit(0.5, 100, Clock())
    limit.check({"t": (100, 100)})
    with pytest.raises(TooManyRefused):
        limit.check({"t": (1, 1)})
    limit.check({"t": (100, 100)})


def test_good_records_pass_after_bad_ones_and_another_topic_is_not_concerned() -> None:
    limit = RefusalLimit(0.5, 100, Clock())
    limit.check({"t": (100, 100)})
    limit.check({"t": (500, 0), "u": (50, 50)})


def test_a_few_bad_ones_among_many_are_no_reason() -> None:
    limit = RefusalLimit(0.5, 100, Clock())
    for _ in range(100):
        limit.check({"t": (1000, 400)})


def test_what_is_longer_ago_than_a_minute_does_not_count() -> None:
    clock = Clock()
    limit = RefusalLimit(0.5, 100, clock)
    limit.check({"t": (100, 100)})
    clock.now += WINDOW_S
    limit.check({"t": (100, 100)})


def test_nothing_is_stopped_where_the_limit_is_switched_off() -> None:
    limit = RefusalLimit(0.5, 0, Clock())
    for _ in range(10):
        limit.check({"t": (1000, 1000)})


@given(
    st.lists(st.tuples(st.integers(1, 50), st.floats(0, 1), st.integers(0, 20)), max_size=60),
    st.integers(1, 200),
)
def test_in_no_minute_more_is_refused_than_the_count_the_share_and_one_batch_allow(
    batches: list[tuple[int, float, int]], per_minute: int
) -> None:
    clock = Clock()
    limit = RefusalLimit(0.5, per_minute, clock)
    taken: list[tuple[float, int, int]] = []
    for records, share, pause in batches:
        clock.now += pause
        refused = int(records * share)
        try:
            limit.check({"t": (records, refused)})
        except TooManyRefused:
            break
        taken.append((clock.now, records, refused))
    recent = [one for one in taken if one[0] > taken[-1][0] - WINDOW_S]  # as it was when the last one was judged
    *before, last = recent or [(0.0, 0, 0)]
    refused_before = sum(one[2] for one in before)
    whole = sum(one[1] for one in recent)
    assert not last[2] or refused_before < per_minute or refused_before + last[2] <= 0.5 * whole
