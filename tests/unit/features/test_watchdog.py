from __future__ import annotations

import pytest

from services.features.watchdog import Stalled, watch


class _Consumer:
    """Gives the looks of a script: (lag, progress)."""

    def __init__(self, looks: list[tuple[int, int]]) -> None:
        self._looks = looks
        self._at = 0

    async def lag(self) -> dict[int, int]:
        return {0: self._looks[min(self._at, len(self._looks) - 1)][0]}

    def progress(self) -> dict[int, int]:
        done = self._looks[min(self._at, len(self._looks) - 1)][1]
        self._at += 1
        return {0: done}


async def test_standing_still_with_work_waiting_ends_the_process() -> None:
    with pytest.raises(Stalled):
        await watch(_Consumer([(5, 10)]), stall_seconds=0.02, look_seconds=0.005)


class _EnoughSeenError(Exception):
    pass


class _Counted(_Consumer):
    """Ends the watching after so many looks."""

    def __init__(self, looks: list[tuple[int, int]], most: int) -> None:
        super().__init__(looks)
        self._most = most

    async def lag(self) -> dict[int, int]:
        if self._at > self._most:
            raise _EnoughSeenError
        return await super().lag()


@pytest.mark.parametrize("looks", [[(0, 10)], [(5, done) for done in range(60)]], ids=["idle", "moving"])
async def test_an_idle_or_moving_consumer_is_left_alone(looks: list[tuple[int, int]]) -> None:
    with pytest.raises(_EnoughSeenError):
        await watch(_Counted(looks, most=40), stall_seconds=0.02, look_seconds=0.002)
