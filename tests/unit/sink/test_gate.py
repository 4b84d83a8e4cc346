"""What the sink is told of the verdicts on purchases, and when it asks letters instead."""

from __future__ import annotations

import pytest
from structlog.testing import capture_logs

from services.sink.gate import Gate
from services.sink.refused import NOBODY, LettersUnreadable
from shared.kafka.errors import TransientError
from tests.unit.sink.lanes import FakeIndex, FakeLetters, purchases


async def test_verdicts_that_were_lost_between_two_questions_are_not_taken_for_none() -> None:
    index = FakeIndex(judged=5, refused={1}, goes_back=True)
    with pytest.raises(TransientError, match="went back"):
        await Gate(index, 0).refused(purchases(0, 1, 2, 3))


async def test_refusals_that_redis_has_forgotten_are_asked_of_their_letters() -> None:
    index, letters = FakeIndex(judged=20, refused={3, 7, 12}, forgotten_up_to=7), FakeLetters({3, 7, 12})
    gate = Gate(index, 0, letters)
    assert await gate.refused(purchases(*range(2, 14))) == {3, 7, 12}
    assert letters.asked == [(2, 13)]
    assert await gate.refused(purchases(*range(8, 14))) == {12}
    assert letters.asked == [(2, 13)], "not where Redis remembers"


async def test_where_letters_cannot_be_had_forgotten_refusals_are_not_taken_for_none() -> None:
    index, letters = FakeIndex(judged=20, forgotten_up_to=7), FakeLetters({3}, away=1)
    with pytest.raises(TransientError):
        await Gate(index, 0, letters).refused(purchases(*range(2, 6)))


async def test_letters_are_asked_only_of_what_was_judged() -> None:
    letters = FakeLetters({3, 9})
    gate = Gate(FakeIndex(judged=5), 0, letters)
    assert set((await gate.refused_before(2)).hashes) == {3}
    assert await gate.refused_before(6) == NOBODY
    assert letters.asked == [(2, 5)]


async def test_letters_that_nobody_can_read_hold_up_no_lane() -> None:
    """But for what only they know."""
    letters = FakeLetters({3}, away=2, failure=LettersUnreadable("checksum"))
    gate = Gate(FakeIndex(judged=5, forgotten_up_to=4), 0, letters)
    with capture_logs() as said:
        assert await gate.refused_before(2) == NOBODY
    assert [line["event"] for line in said] == ["letters_unreadable"]
    with pytest.raises(LettersUnreadable):
        await gate.refused(purchases(2, 3))
