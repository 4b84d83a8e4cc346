"""Which loans lack an outcome, and which sources tell of none any more."""

from __future__ import annotations

import numpy as np
import pytest

from services.trainer.monitoring.silence import LATE_DAYS, LATELY_DAYS, Silence, Told, told_of
from shared.feature_definitions.windows import MICROS_PER_DAY

DAY = MICROS_PER_DAY
AS_OF = 200
LOANS = 10
"""A day, of which one goes bad."""


def told(gap: range, silent_from: int = 10**6, as_of: int = AS_OF) -> Told:
    """A source whose loans have run their course each day, and that has not told of the good ones of some days: a
    default is told weeks before."""
    day = np.repeat(np.arange(as_of - 90, as_of), LOANS)
    bad = np.arange(len(day)) % LOANS == 0
    heard = bad | (~np.isin(day, gap) & (day < silent_from))
    last_us = np.full(len(day), min(silent_from, as_of) * DAY - 1.0)
    return told_of(np.full(len(day), "one", object), day * DAY, heard, last_us, as_of * DAY)


def test_a_source_that_tells_lacks_nothing() -> None:
    assert told(range(0)) == Told(over=LATELY_DAYS * LOANS, lacking=0)


@pytest.mark.parametrize(("days_ago", "lacking"), [(5, 0), (LATE_DAYS + 3, 27), (LATE_DAYS + LATELY_DAYS + 3, 0)])
def test_days_that_were_left_out_are_lacking_for_two_weeks_and_no_longer(days_ago: int, lacking: int) -> None:
    """Counted over all loans that are read they would hold trainings up for three months."""
    assert told(range(AS_OF - days_ago, AS_OF - days_ago + 3)).lacking == lacking


def test_what_a_source_has_not_told_of_since_it_told_last_is_its_silence_and_not_lacking() -> None:
    silent_from = AS_OF - LATE_DAYS - 4
    found = told(range(0), silent_from)
    assert found.lacking == 0
    assert found.over == (LATELY_DAYS - 5) * LOANS
    assert found.silent == (Silence("one", silent_from * DAY - 1, 5 * (LOANS - 1)),)


def test_a_source_that_has_never_told_of_anything_is_silent_and_lacks_nothing() -> None:
    """Else one that comes without a feed of outcomes would hold everybody's trainings up for ever."""
    never = told_of(
        np.full(30, "new", object), np.full(30, (AS_OF - LATE_DAYS - 1) * DAY), np.zeros(30, bool), np.full(30, np.nan),
        AS_OF * DAY,
    )  # fmt: skip
    assert never == Told(over=0, lacking=0, silent=(Silence("new", None, 30),))


def test_a_silence_is_told_until_the_loans_of_the_source_have_run_out() -> None:
    """A source that has left for good is nothing to worry about for ever."""
    day, silent_from = np.repeat(np.arange(100), LOANS), 60.0
    for as_of, silent in ((90, True), (100 + LATE_DAYS + LATELY_DAYS, False)):
        found = told_of(
            np.full(len(day), "gone", object),
            day * DAY,
            day < silent_from,
            np.full(len(day), silent_from * DAY),
            as_of * DAY,
        )
        assert bool(found.silent) is silent
