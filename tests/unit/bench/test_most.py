"""Ours, the peers and the limit are measured over the same part of a round, none of them from a cold start."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest

from services.trainer.scoring.run import BATCH_ROWS
from tests.bench.most import Look, rate_of_most
from tests.bench.peers import appends
from tests.bench.scoring import bare


def test_the_end_of_a_round_does_not_count() -> None:
    even = [Look(10.0 + number, 100.0 * number) for number in range(10)]
    assert rate_of_most([*even, Look(500.0, 1000.0)], 1000) == 100.0


def test_what_threads_had_begun_when_the_first_was_answered_is_not_theirs_for_nothing() -> None:
    """Four threads, a batch of 100 a second each: they are answered all but together."""
    answers = [
        (second + thread / 1000, 400 * (second - 1) + 100 * (thread + 1)) for second in (1, 2, 3) for thread in range(4)
    ]
    looks = [Look(0.0, 0), *(Look(*answer) for answer in answers)]
    assert rate_of_most(looks, 1200) == pytest.approx(400, rel=0.1)


def test_a_look_that_comes_late_counts_with_the_rows_that_it_saw() -> None:
    assert rate_of_most([Look(0.0, 0), Look(1.0, 300), Look(2.0, 950), Look(4.0, 1000)], 1000) == 475.0


def test_a_round_between_two_looks_is_no_measurement() -> None:
    with pytest.raises(AssertionError, match="between two looks"):
        rate_of_most([Look(0.0, 0), Look(1.0, 1000)], 1000)


@pytest.mark.parametrize("count", [5, 10, 11, 1010, 1234])
def test_a_thread_s_first_batch_is_small_and_no_row_is_left_out(count: int) -> None:
    rows: list[dict[str, Any]] = [{"number": number} for number in range(count)]
    first, *others = appends.batches_of(rows)
    assert len(first) <= appends.AT_FIRST < appends.AT_ONCE
    assert all(0 < len(batch) <= appends.AT_ONCE for batch in others)
    assert [row for batch in (first, *others) for row in batch] == rows


def test_every_channel_has_been_written_to_before_the_clock_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[int] = []
    begun_with: list[int] = []

    class Started(appends.Progress):
        def __init__(self) -> None:
            begun_with.append(len(opened))
            super().__init__()

    def writing(number: int) -> Iterator[int]:
        opened.append(number)
        yield appends.AT_FIRST
        for _ in range(20):
            yield 50

    counted: list[float] = []

    def rate(looks: list[Look], rows: float) -> float:
        counted.append(rows)
        assert [look.rows for look in looks] == [50.0 * step for step in range(81)]
        return rate_of_most(looks, rows)

    monkeypatch.setattr(appends, "Progress", Started)
    monkeypatch.setattr(appends, "rate_of_most", rate)
    assert appends.rate_of([writing(number) for number in range(4)]) > 0
    assert begun_with == [4] and counted == [4 * 20 * 50], "the first batches are no part of it"


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_the_bare_loop_has_as_many_threads_as_it_is_told_and_runs_each_batch_once(threads: int) -> None:
    seen: set[int] = set()
    batches: list[int] = []
    together = threading.Barrier(threads)

    class Session:
        def run(self, _: object, inputs: dict[str, Any]) -> None:
            if threading.get_ident() not in seen:
                seen.add(threading.get_ident())
                together.wait(60)
            batches.append(next(iter(inputs.values())))

    assert bare(Session(), [0, 1, 2], 7 * BATCH_ROWS - 1, threads) > 0  # type: ignore[list-item]
    assert len(seen) == threads
    assert sorted(batches) == [0, 0, 0, 1, 1, 2, 2]
