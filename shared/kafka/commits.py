"""Offsets on their way to the brokers, beside the work."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection, Mapping

import structlog
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import CommitFailedError, IllegalStateError, KafkaError

from shared.kafka.errors import GaveUp

log = structlog.get_logger()

COMMIT_EVERY_S = 0.5
"""What comes again after a crash at most. A commit for each small batch would cost more than the batch."""

COMMIT_TIMEOUT_S = 5.0
"""For the last commit before partitions are given back: the client itself would try for as long as no broker answers,
and hold up the rebalance and the stop of the process."""

COMMIT_STALL_S = 20.0
"""A commit that takes longer, while work goes on all the time, is one that the client has forgotten about."""

QUIET_S = 5.0
"""Without work for so long, brokers may be away, and a commit may take its time."""

ANSWERS = 3
"""So often in a row brokers have answered while a commit waits, and nothing else goes on: it doesn't wait for them. The
client has been seen to forget a commit as a broker died; with no work after it, the group would stay behind."""


class CommitsStalled(GaveUp):
    """Records are handled and their offsets can't be committed. A restart mends what the client can't."""


class OffsetCommits:
    """Commits what is handed in, every half a second, never holding up the caller.

    A commit that is under way is never cut short: the client doesn't bear that. What couldn't be committed before
    partitions were given back is dropped: whoever has them now begins a little earlier, which is safe.
    """

    def __init__(self, consumer: AIOKafkaConsumer) -> None:
        self._consumer = consumer
        self._waiting: dict[TopicPartition, int] = {}
        self._due_at_s = 0.0
        self._task: asyncio.Task[None] | None = None
        self._worked_at_s = 0.0
        self._stalled_since_s: float | None = None
        self._committing: dict[TopicPartition, int] = {}
        self._begun_at_s = 0.0
        self._question: asyncio.Task[None] | None = None
        self._ask_at_s = 0.0
        self._answers = 0
        self._given_back = 0
        """How often partitions were: what could not be committed before is not ours to commit after."""

    def add(self, offsets: Mapping[TopicPartition, int]) -> None:
        """The next offset to read of each partition: all before it is settled."""
        if offsets:
            self._waiting.update(offsets)
            self._worked_at_s = time.monotonic()

    def begin_if_due(self) -> None:
        """Begin a commit where there is something to commit. Raises CommitsStalled."""
        now = time.monotonic()
        if self._task is None or self._task.done():
            self._stalled_since_s, self._answers = None, 0
            if self._waiting and now >= self._due_at_s:
                self._task = asyncio.create_task(self._commit(), name="commit")
        elif now - self._worked_at_s > QUIET_S:
            self._stalled_since_s = None
            self._ask_brokers(now)
        elif self._waiting:
            self._stalled_since_s = self._stalled_since_s or now
            if now - self._stalled_since_s > COMMIT_STALL_S:
                raise CommitsStalled(f"a commit is not done after {COMMIT_STALL_S:.0f} s of work")

    def _ask_brokers(self, now: float) -> None:
        """Whether it is them that a commit waits for, where no work tells."""
        if now - self._begun_at_s < COMMIT_STALL_S or now < self._ask_at_s:
            return
        if self._answers >= ANSWERS:
            raise CommitsStalled(f"a commit is not done after {now - self._begun_at_s:.0f} s, and brokers answer")
        if self._question is None or self._question.done():
            self._question = asyncio.create_task(self._ask(), name="are-brokers-there")

    async def _ask(self) -> None:
        try:
            async with asyncio.timeout(COMMIT_TIMEOUT_S):
                await self._consumer.end_offsets(list(self._committing))
        except (KafkaError, OSError, TimeoutError):
            self._answers = 0
        else:
            self._answers += 1
        self._ask_at_s = time.monotonic() + QUIET_S

    async def flush(self) -> None:
        """Commit what was handed in, as far as the brokers answer in time."""
        before = self._task

        async def all_of_it() -> None:
            if before is not None:
                await asyncio.wait({before})
            await self._commit()

        self._task = asyncio.create_task(all_of_it(), name="last-commit")
        await asyncio.wait({self._task}, timeout=COMMIT_TIMEOUT_S)

    def give_back(self, partitions: Collection[TopicPartition]) -> None:
        """Forget what wasn't committed of these."""
        self._given_back += 1
        for partition in partitions:
            self._waiting.pop(partition, None)

    def cancel(self) -> None:
        """The client is closed: nothing can be committed any more."""
        for task in (self._task, self._question):
            if task is not None:
                task.cancel()

    async def _commit(self) -> None:
        offsets, self._waiting = self._waiting, {}
        given_back = self._given_back
        self._due_at_s = time.monotonic() + COMMIT_EVERY_S
        if not offsets:
            return
        self._committing, self._begun_at_s = offsets, time.monotonic()
        try:
            await self._consumer.commit(offsets)
        except (CommitFailedError, IllegalStateError) as error:
            # The group moved on without us: whoever has the partitions now does the last bit again, which is safe.
            log.warning("commit_refused", error=repr(error))
        except KafkaError as error:
            log.warning("commit_failed", error=repr(error))
            if given_back == self._given_back:
                self._waiting = offsets | self._waiting
