from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import SimpleNamespace

import pytest

from services.scorer.cohorts import Cohorts

FOR_EVER_S = 3600.0


class Clock:
    """Stands in for the loop where cohorts ask it for the time: none passes but what a test says."""

    def __init__(self) -> None:
        self._now_s = 0.0
        self._calls: list[tuple[float, asyncio.Handle, Callable[[], None]]] = []

    def time(self) -> float:
        return self._now_s

    def create_future(self) -> asyncio.Future[int]:
        return asyncio.get_running_loop().create_future()

    def call_at(self, moment_s: float, call: Callable[[], None]) -> asyncio.Handle:
        loop = asyncio.get_running_loop()
        if moment_s <= self._now_s:
            return loop.call_soon(call)
        handle = asyncio.Handle(call, (), loop)
        self._calls.append((moment_s, handle, call))
        return handle

    async def passes(self, seconds: float) -> None:
        self._now_s += seconds
        due = sorted((each for each in self._calls if each[0] <= self._now_s), key=lambda each: each[0])
        self._calls = [each for each in self._calls if each[0] > self._now_s]
        for _, handle, call in due:
            if not handle.cancelled():
                call()
        await turns()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr("services.scorer.cohorts.asyncio", SimpleNamespace(get_running_loop=lambda: made))
    return made


class Travellers:
    """Each notes when it set out, and arrives when it is told to."""

    def __init__(self, cohorts: Cohorts) -> None:
        self._cohorts = cohorts
        self.away: list[str] = []
        self._home: dict[str, asyncio.Event] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def comes(self, *names: str) -> None:
        for name in names:
            self._home[name] = asyncio.Event()
            self._tasks[name] = asyncio.ensure_future(self._travel(name))

    async def _travel(self, name: str) -> None:
        async with self._cohorts.member():
            self.away.append(name)
            await self._home[name].wait()

    async def arrives(self, *names: str) -> None:
        for name in names:
            self._home[name].set()
            await self._tasks[name]

    async def gives_up(self, name: str) -> None:
        self._tasks[name].cancel()
        with pytest.raises(asyncio.CancelledError):
            await self._tasks[name]


async def turns(count: int = 5) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def test_nobody_waits_where_nobody_is_under_way() -> None:
    who = Travellers(Cohorts(gather_s=FOR_EVER_S, longest_wait_s=FOR_EVER_S))
    who.comes("a")
    await turns()
    assert who.away == ["a"]


async def test_who_comes_meanwhile_sets_out_together_when_the_last_one_under_way_has_arrived() -> None:
    who = Travellers(Cohorts(gather_s=FOR_EVER_S, longest_wait_s=FOR_EVER_S))
    who.comes("a", "b")
    await turns()
    who.comes("c")
    await turns()
    who.comes("d")
    await who.arrives("a")
    await turns()
    assert who.away == ["a", "b"]
    await who.arrives("b")
    await turns()
    assert who.away == ["a", "b", "c", "d"]


async def test_a_second_cohort_sets_out_beside_the_first_after_a_moment(clock: Clock) -> None:
    who = Travellers(Cohorts(at_once=2, gather_s=1.0, longest_wait_s=FOR_EVER_S))
    who.comes("a")
    await turns()
    who.comes("b", "c")
    await turns()
    await clock.passes(0.9)
    assert who.away == ["a"]
    await clock.passes(0.2)
    assert who.away == ["a", "b", "c"]


async def test_when_one_of_two_cohorts_has_arrived_the_next_sets_out_after_a_moment(clock: Clock) -> None:
    who = Travellers(Cohorts(at_once=2, gather_s=1.0, longest_wait_s=FOR_EVER_S))
    who.comes("a")
    await turns()
    who.comes("b")
    await turns()
    await clock.passes(1.1)
    who.comes("c")
    await turns()
    await clock.passes(100.0)
    assert who.away == ["a", "b"]
    await who.arrives("a")
    await clock.passes(0.9)
    assert who.away == ["a", "b"]
    await clock.passes(0.2)
    assert who.away == ["a", "b", "c"]


async def test_where_those_under_way_do_not_arrive_the_others_go_all_the_same(clock: Clock) -> None:
    who = Travellers(Cohorts(at_once=1, gather_s=0.0, longest_wait_s=1.0))
    who.comes("a")
    await turns()
    who.comes("b")
    await turns()
    await clock.passes(0.9)
    assert who.away == ["a"]
    await clock.passes(0.2)
    assert who.away == ["a", "b"]


async def test_one_who_gives_up_just_when_the_cohort_sets_out_holds_nobody_up() -> None:
    cohorts = Cohorts(gather_s=FOR_EVER_S, longest_wait_s=FOR_EVER_S)
    who = Travellers(cohorts)
    who.comes("a")
    cohorts._set_out()  # its place is given, and it has not had its turn
    await who.gives_up("a")
    who.comes("b")
    await turns()
    assert who.away == ["b"]


async def test_one_who_gives_up_holds_nobody_up() -> None:
    who = Travellers(Cohorts(gather_s=FOR_EVER_S, longest_wait_s=FOR_EVER_S))
    who.comes("a")
    await turns()
    who.comes("waiting")
    await turns()
    await who.gives_up("waiting")
    await who.gives_up("a")
    who.comes("b")
    await turns()
    assert who.away == ["a", "b"]


async def test_a_handle_that_does_not_tell_its_time_is_no_trouble(monkeypatch: pytest.MonkeyPatch) -> None:
    """What uvloop gives for a call that is due before it was asked for, on a machine that is very busy."""
    loop = asyncio.get_running_loop()
    monkeypatch.setattr(loop, "call_at", lambda _, call: loop.call_soon(call))
    cohorts = Cohorts(gather_s=FOR_EVER_S / 2, longest_wait_s=FOR_EVER_S)
    cohorts._under_way = dict.fromkeys((1, 2, 3), 1)
    waiting = cohorts._join()
    cohorts._arrived(1)
    cohorts._arrived(2)
    await turns()
    assert waiting.done()
