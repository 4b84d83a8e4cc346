from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from services.scorer.together import Together


class Work:
    """Doubles numbers once it may; odd ones are refused."""

    def __init__(self) -> None:
        self.rounds: list[list[int]] = []
        self.may_go_on = asyncio.Event()
        self.may_go_on.set()
        self.broken = False

    async def __call__(self, asked: Sequence[int]) -> list[int | Exception]:
        self.rounds.append(list(asked))
        await self.may_go_on.wait()
        if self.broken:
            raise RuntimeError("not even expected")
        return [ValueError(f"{number} is odd") if number % 2 else 2 * number for number in asked]


async def test_who_asks_in_one_moment_is_in_one_round_and_gets_the_own_answer() -> None:
    work = Work()
    together = Together(work)
    assert await asyncio.gather(*(together.ask(number) for number in (4, 2, 0))) == [8, 4, 0]
    assert work.rounds == [[4, 2, 0]]


async def test_who_comes_later_does_not_wait_for_a_round_that_hangs() -> None:
    work = Work()
    together = Together(work)
    hung = work.may_go_on
    hung.clear()
    hanging = together.ask(2)
    await asyncio.sleep(0.01)
    work.may_go_on = asyncio.Event()
    work.may_go_on.set()
    assert list(await asyncio.gather(together.ask(4), together.ask(6))) == [8, 12]
    assert work.rounds == [[2], [4, 6]]
    assert not hanging.done()
    hung.set()
    assert await hanging == 4


async def test_those_who_were_answered_together_go_on_together() -> None:
    work = Work()
    together = Together(work)

    async def twice(number: int) -> int:
        return await together.ask(await together.ask(number))

    assert await asyncio.gather(*(twice(number) for number in (2, 4, 6))) == [8, 16, 24]
    assert work.rounds == [[2, 4, 6], [4, 8, 12]]


async def test_an_error_of_one_question_is_nobody_elses() -> None:
    together = Together(Work())
    answers = await asyncio.gather(*(together.ask(number) for number in (2, 3, 4)), return_exceptions=True)
    assert (answers[0], answers[2]) == (4, 8)
    assert isinstance(answers[1], ValueError)


async def test_an_error_of_the_round_is_everybodys_and_the_next_round_goes_on() -> None:
    work = Work()
    together = Together(work)
    work.broken = True
    answers = await asyncio.gather(together.ask(2), together.ask(4), return_exceptions=True)
    assert [str(answer) for answer in answers] == ["not even expected"] * 2
    work.broken = False
    assert await together.ask(2) == 4


async def test_where_there_is_nothing_to_answer_everybody_is_told_that_it_is_done() -> None:
    done: list[int] = []

    async def note(asked: Sequence[int]) -> None:
        done.extend(asked)

    together: Together[int, None] = Together(note)
    assert list(await asyncio.gather(together.ask(1), together.ask(2))) == [None, None]
    assert done == [1, 2]


async def test_one_who_left_takes_nobody_along() -> None:
    work = Work()
    together = Together(work)
    work.may_go_on.clear()
    leaving, staying = asyncio.ensure_future(together.ask(2)), together.ask(4)
    await asyncio.sleep(0.01)
    leaving.cancel()
    work.may_go_on.set()
    assert await staying == 8
    with pytest.raises(asyncio.CancelledError):
        await leaving
