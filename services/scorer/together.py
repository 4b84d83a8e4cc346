"""Questions of concurrent requests, asked together: what a round trip costs, it costs once for all of them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Generic, TypeVar

Asked = TypeVar("Asked")
Answer = TypeVar("Answer")


class Together(Generic[Asked, Answer]):
    """Asks in rounds: what comes while a round is under way waits for the next, and nothing waits for more to come.

    `work` is given the questions of a round and gives an answer, or an error, for each; an error of its own is
    everybody's.
    """

    def __init__(self, work: Callable[[Sequence[Asked]], Coroutine[Any, Any, Sequence[Answer | Exception]]]) -> None:
        self._work = work
        self._waiting: list[tuple[Asked, asyncio.Future[Answer]]] = []
        self._working: asyncio.Task[None] | None = None

    def ask(self, asked: Asked) -> asyncio.Future[Answer]:
        """The answer, for whoever awaits it; it comes whether somebody does or not."""
        answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._waiting.append((asked, answer))
        if self._working is None:
            # It begins with the loop's next turn: whoever asks in this one is in its first round.
            self._working = asyncio.create_task(self._rounds())
        return answer

    async def _rounds(self) -> None:
        while self._waiting:
            round_, self._waiting = self._waiting, []
            # Whatever it raises, also what nobody expected, is for those who wait, not for us.
            outcome: Sequence[Answer | Exception] | BaseException
            (outcome,) = await asyncio.gather(self._work([asked for asked, _ in round_]), return_exceptions=True)
            answers = [outcome] * len(round_) if isinstance(outcome, BaseException) else outcome
            for (_, waiting), answer in zip(round_, answers, strict=True):
                if waiting.done():  # cancelled: whoever asked has left
                    continue
                if isinstance(answer, BaseException):
                    waiting.set_exception(answer)
                    waiting.exception()  # nobody may be waiting for it any more, and that is no fault
                else:
                    waiting.set_result(answer)
        self._working = None
