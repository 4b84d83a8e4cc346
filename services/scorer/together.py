"""Questions of concurrent requests, asked together: what a round trip costs, it costs once for all of them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Generic, TypeVar, cast

Asked = TypeVar("Asked")
Answer = TypeVar("Answer")


class Together(Generic[Asked, Answer]):
    """Who asks in one turn of the event loop is in one round. Nobody waits for more to come, nor for an earlier round:
    one that hangs holds up its own askers alone.

    `work` is given the questions of a round and gives an answer, or an error, for each, or nothing where there is
    nothing to answer; an error of its own is everybody's.
    """

    def __init__(
        self, work: Callable[[Sequence[Asked]], Coroutine[Any, Any, Sequence[Answer | Exception] | None]]
    ) -> None:
        self._work = work
        self._asking: list[tuple[Asked, asyncio.Future[Answer]]] = []
        self._under_way: set[asyncio.Task[None]] = set()

    def ask(self, asked: Asked) -> asyncio.Future[Answer]:
        """The answer, for whoever awaits it; it comes whether somebody does or not."""
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Answer] = loop.create_future()
        self._asking.append((asked, answer))
        if len(self._asking) == 1:
            loop.call_soon(self._set_out)
        return answer

    def _set_out(self) -> None:
        round_, self._asking = self._asking, []
        task = asyncio.create_task(self._round(round_))
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)

    async def _round(self, askers: Sequence[tuple[Asked, asyncio.Future[Answer]]]) -> None:
        await give(self._work([asked for asked, _ in askers]), [waiting for _, waiting in askers])


async def give(
    work: Coroutine[Any, Any, Sequence[Answer | BaseException] | None], waiting: Sequence[asyncio.Future[Answer]]
) -> None:
    """Give each who waits its own of the answers and errors of `work`; what it raises itself, also what nobody
    expected, is for all of them. Where `work` answers nothing at all, they are told that it is done."""
    outcome: Sequence[Answer | BaseException] | BaseException | None
    try:
        outcome = await work
    except asyncio.CancelledError:
        for each in waiting:
            each.cancel()
        raise
    except Exception as error:  # noqa: BLE001 - whatever it is: those who wait have to hear of it
        outcome = error
    answers = [outcome] * len(waiting) if outcome is None or isinstance(outcome, BaseException) else outcome
    for each, answer in zip(waiting, answers, strict=True):
        if each.done():  # cancelled, or told that it takes too long
            continue
        if isinstance(answer, BaseException):
            each.set_exception(answer)
            each.exception()  # nobody may be waiting for it any more, and that is no fault
        else:
            each.set_result(cast(Answer, answer))
