"""One batch: what is durable when, and who may go on. Over a store and a broker that live in memory."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

import pytest

from services.features.handler import Batch, BatchHandler, LogWentBack, SkippedRecords, Superseded
from services.features.pipeline import LogRecord
from shared.contracts.topics import DEAD_LETTERS, FEATURES, TRANSACTIONS
from shared.contracts.transactions import Limits
from shared.feature_definitions import CustomerState
from shared.feature_state import FencedOff, Move, Position, Standing, StatesLost
from shared.kafka.errors import TransientError
from shared.kafka.producer import OutgoingRecord
from shared.kafka.refusal_limit import RefusalLimit
from tests.unit.features.records import CUSTOMER, HOME, PARTITIONS, outcome, purchase, raw

NOW = "2026-06-02T00:00:00.000000Z"


NO_LIMIT = RefusalLimit(1, 0)


class Parts:
    """Store and producer, with a journal of what was done in which order. `failures`: of the next calls, by name."""

    def __init__(self) -> None:
        self.positions: dict[int, Position] = {HOME: Position()}
        self.targets: dict[int, Position] = {}
        self.states: dict[str, bytes] = {}
        self.refused: list[int] = []
        self.sent: list[OutgoingRecord] = []
        self.journal: list[str] = []
        self.failures: dict[str, list[Exception]] = {}
        self.before: Callable[[str], Awaitable[None]] | None = None

    async def _step(self, name: str) -> None:
        self.journal.append(name)
        if self.before is not None:
            await self.before(name)
        if self.failures.get(name):
            raise self.failures[name].pop(0)

    async def standing(self, partition: int) -> Standing:
        await self._step("position")
        return Standing(self.positions.get(partition), self.targets.get(partition))

    async def read_states(
        self, wanted: Mapping[int, Sequence[str]], at: Mapping[int, Position]
    ) -> dict[int, dict[str, bytes | None]]:
        await self._step("read")
        for partition in wanted:
            if partition not in self.positions:
                raise StatesLost
            if self.positions[partition] != at[partition]:
                raise self._elsewhere(self.positions[partition], at[partition])
        return {partition: {name: self.states.get(name) for name in names} for partition, names in wanted.items()}

    async def commit(self, moves: Sequence[Move]) -> None:
        await self._step("commit")
        for move in moves:
            if move.partition not in self.positions:
                raise StatesLost
            if self.positions[move.partition] != move.expected:
                raise self._elsewhere(self.positions[move.partition], move.expected)
            self.positions[move.partition] = move.new
            self.states.update(move.states)
            self.refused.extend(move.refused)

    @staticmethod
    def _elsewhere(held: Position, expected: Position) -> Exception:
        return StatesLost() if held.is_behind(expected) else FencedOff()

    async def fall_behind(self, partition: int, held: Position, target: Position) -> bool:
        await self._step("fall behind")
        self.targets[partition] = target
        return True

    async def send_all(self, records: Sequence[OutgoingRecord], *, deadline_s: float | None = None) -> object:
        await self._step("send")
        self.sent.extend(records)
        return []

    def topics(self) -> list[str]:
        return [record.topic for record in self.sent]


@pytest.fixture
def parts() -> Parts:
    return Parts()


def made(parts: Any, refusals: RefusalLimit = NO_LIMIT) -> BatchHandler:
    return BatchHandler(parts, parts, partitions=PARTITIONS, limits=Limits(), refusals=refusals, now=lambda: NOW)


@pytest.fixture
async def handler(parts: Parts) -> BatchHandler:
    handler = made(parts)
    await handler.resume([HOME], deadline_s=5)
    parts.journal.clear()
    return handler


async def take(handler: BatchHandler, records: Sequence[LogRecord], previous: int = -1) -> bool:
    (taken,) = await handler.handle([Batch(records, previous, handler.generation)])
    return taken


async def test_the_state_is_written_only_after_everything_was_acknowledged(handler: BatchHandler, parts: Parts) -> None:
    wrong = raw(b"?", offset=2, partition=HOME, key=b"cust_000002")
    assert await take(handler, [purchase(0), raw(b"{", offset=1), wrong])
    assert parts.journal == ["read", "send", "commit"]
    assert parts.topics() == [FEATURES.name, TRANSACTIONS.name, DEAD_LETTERS.name]
    assert parts.positions == {HOME: Position(2, -1)}


async def test_headers_without_a_value_stop_nothing(handler: BatchHandler, parts: Parts) -> None:
    null: Any = None
    good = purchase(0, headers=[("schema_version", null), ("traceparent", null)])
    refused = raw(b"{", offset=1, headers=[("x", null)])
    misplaced = raw(b"?", offset=2, partition=HOME, key=b"cust_000002", headers=[("x", null)])
    assert await take(handler, [good, refused, misplaced])
    assert parts.topics() == [FEATURES.name, TRANSACTIONS.name, DEAD_LETTERS.name]
    assert ("x", b"") in parts.sent[1].headers


async def test_a_send_that_cannot_succeed_leaves_state_and_position_alone(handler: BatchHandler, parts: Parts) -> None:
    parts.failures["send"] = [RuntimeError("broken for good")]
    with pytest.raises(RuntimeError, match="broken for good"):
        await take(handler, [purchase(0)])
    assert (parts.positions, parts.states) == ({HOME: Position()}, {})


@pytest.mark.parametrize("step", ["read", "send", "commit"])
async def test_a_dependency_that_comes_back_is_waited_for(handler: BatchHandler, parts: Parts, step: str) -> None:
    parts.failures[step] = [TransientError("away"), TransientError("away")]
    assert await take(handler, [purchase(0)])
    assert parts.journal.count(step) == 3
    assert parts.positions == {HOME: Position(0, -1)}
    assert not handler.waiting


async def test_the_two_topics_move_their_own_half_of_the_position(handler: BatchHandler, parts: Parts) -> None:
    await take(handler, [purchase(0), purchase(1)])
    await take(handler, [outcome(0, offset=0)])
    await take(handler, [purchase(2)], previous=1)
    assert parts.positions == {HOME: Position(2, 0)}
    assert b'"as_of":{"transactions":1,"outcomes":0}' in (parts.sent[-1].value or b"")


async def test_all_that_waits_is_one_round(handler: BatchHandler, parts: Parts) -> None:
    """Three batches of two topics: one read, one send, one write; each sees what the ones before it did."""
    batches = [[purchase(0), purchase(1)], [outcome(0, offset=0)], [purchase(2)]]
    previous = [-1, -1, 1]
    round_ = [Batch(each, before, handler.generation) for each, before in zip(batches, previous, strict=True)]
    assert await handler.handle(round_) == [True, True, True]
    assert parts.journal == ["read", "send", "commit"]
    assert parts.positions == {HOME: Position(2, 0)}
    together = [record.value for record in parts.sent]

    apart = Parts()
    one_by_one = made(apart)
    await one_by_one.resume([HOME], deadline_s=5)
    for each, before in zip(batches, previous, strict=True):
        await take(one_by_one, each, before)
    assert (together, parts.states) == ([record.value for record in apart.sent], apart.states)


async def test_a_batch_that_is_passed_over_does_not_keep_the_round_from_others(
    handler: BatchHandler, parts: Parts
) -> None:
    stale = Batch([purchase(0)], -1, handler.generation - 1)
    assert await handler.handle([stale, Batch([purchase(0)], -1, handler.generation)]) == [False, True]
    assert len(parts.sent) == 1


async def test_records_that_are_in_the_states_already_have_no_second_effect(
    handler: BatchHandler, parts: Parts
) -> None:
    await take(handler, [purchase(0), purchase(1)])
    assert await take(handler, [purchase(1), purchase(2)])
    assert len(parts.sent) == 3
    assert (
        CustomerState.decode(parts.states[CUSTOMER]).latest_us
        == CustomerState.decode(parts.states[CUSTOMER]).purchases[2].t_us
    )
    assert await take(handler, [purchase(0), purchase(1)])
    assert parts.positions == {HOME: Position(2, -1)}


async def test_a_batch_behind_a_hole_is_refused(handler: BatchHandler, parts: Parts) -> None:
    await take(handler, [purchase(0)])
    with pytest.raises(SkippedRecords):
        await take(handler, [purchase(5)], previous=4)
    assert parts.positions == {HOME: Position(0, -1)}


async def test_a_batch_from_before_what_was_read_is_of_another_log(handler: BatchHandler, parts: Parts) -> None:
    """The client goes to the beginning by itself where its offset is beyond the end."""
    await take(handler, [purchase(0), purchase(1)])
    sent = len(parts.sent)
    with pytest.raises(LogWentBack, match="0 came after 1"):
        await take(handler, [purchase(0)], previous=1)
    assert (len(parts.sent), parts.positions) == (sent, {HOME: Position(1, -1)})


async def test_offsets_that_never_held_a_record_are_no_hole(handler: BatchHandler, parts: Parts) -> None:
    await take(handler, [purchase(0)])
    assert await take(handler, [purchase(5)], previous=0)
    assert parts.positions == {HOME: Position(5, -1)}


async def test_a_writer_that_was_overtaken_is_told(handler: BatchHandler, parts: Parts) -> None:
    parts.positions[HOME] = Position(7, -1)
    with pytest.raises(FencedOff):
        await take(handler, [purchase(0)])
    assert parts.states == {}


async def test_conflicts_are_noted_in_the_same_write(handler: BatchHandler, parts: Parts) -> None:
    await take(handler, [purchase(0), purchase(0, offset=1, amount=1.0)])
    assert parts.refused == [1]


async def test_a_batch_of_an_earlier_assignment_is_passed_over(handler: BatchHandler, parts: Parts) -> None:
    stale = handler.generation
    await handler.resume([HOME], deadline_s=5)
    assert await handler.handle([Batch([purchase(0)], -1, stale)]) == [False]
    assert parts.sent == []


async def test_nothing_is_taken_in_after_the_release(handler: BatchHandler, parts: Parts) -> None:
    await handler.release()
    assert not await take(handler, [purchase(0)])
    assert parts.sent == []


async def test_the_release_waits_for_the_batch_in_hand(handler: BatchHandler, parts: Parts) -> None:
    sending, go_on = asyncio.Event(), asyncio.Event()

    async def hold(step: str) -> None:
        if step == "send":
            sending.set()
            await go_on.wait()

    parts.before = hold
    batch = asyncio.create_task(take(handler, [purchase(0)]))
    await sending.wait()
    release = asyncio.create_task(handler.release())
    await asyncio.sleep(0)
    assert not release.done()
    go_on.set()
    await release
    assert parts.positions == {HOME: Position(0, -1)}
    assert await batch


async def test_the_release_does_not_wait_for_a_dependency_to_come_back(handler: BatchHandler, parts: Parts) -> None:
    parts.failures["commit"] = [TransientError("away")] * 1000
    batch = asyncio.create_task(take(handler, [purchase(0)]))
    while not handler.waiting:  # noqa: ASYNC110 (a flag, as the watchdog reads it)
        await asyncio.sleep(0)
    async with asyncio.timeout(5):
        await handler.release()
    assert (await batch, handler.waiting) == (False, False)
    assert parts.positions == {HOME: Position()}


async def test_positions_are_read_anew_with_each_assignment(handler: BatchHandler, parts: Parts) -> None:
    parts.positions[HOME] = Position(41, 8)
    assert await handler.resume([HOME, HOME], deadline_s=5) == {HOME: Position(41, 8)}
    assert await take(handler, [purchase(0, offset=42)], previous=41)


async def test_what_was_given_up_while_its_position_was_asked_for_stays_given_up(
    handler: BatchHandler, parts: Parts
) -> None:
    """An abandoned release doesn't wait until the positions are there, and nobody would take them away again."""

    async def give_up(step: str) -> None:
        if step == "position":
            handler.generation += 1

    parts.before = give_up
    with pytest.raises(Superseded):
        await handler.resume([HOME], deadline_s=5)


async def test_an_assignment_without_redis_gives_up_in_time(handler: BatchHandler, parts: Parts) -> None:
    parts.failures["position"] = [TransientError("away")] * 1000
    with pytest.raises(TimeoutError):
        await handler.resume([HOME], deadline_s=0.01)


async def test_nothing_is_sent_of_states_that_redis_has_lost(handler: BatchHandler, parts: Parts) -> None:
    del parts.positions[HOME]
    with pytest.raises(StatesLost):
        await take(handler, [purchase(0)])
    assert parts.sent == []
    assert await handler.has_lost_states()


async def test_nothing_is_sent_of_states_that_went_back_in_time(handler: BatchHandler, parts: Parts) -> None:
    await take(handler, [purchase(0)])
    parts.positions[HOME] = Position()
    parts.sent.clear()
    with pytest.raises(StatesLost):
        await take(handler, [purchase(1)])
    assert parts.sent == []
    assert await handler.has_lost_states()


async def test_states_that_went_back_are_marked_up_to_where_they_were(handler: BatchHandler, parts: Parts) -> None:
    await take(handler, [purchase(0), purchase(1)])
    parts.positions[HOME] = Position(0, -1)
    assert await handler.resume([HOME], deadline_s=5) == {}
    assert parts.targets == {HOME: Position(1, -1)}


async def test_a_new_process_knows_from_the_commits_that_states_went_back(parts: Parts) -> None:
    parts.positions[HOME] = Position(41, 8)
    handler = made(parts)
    assert await handler.resume([HOME], deadline_s=5, at_least={HOME: Position(40, 9)}) == {}
    assert parts.targets == {HOME: Position(41, 9)}


async def test_commits_that_lag_behind_the_states_are_no_loss(parts: Parts) -> None:
    parts.positions[HOME] = Position(41, 8)
    handler = made(parts)
    found = await handler.resume([HOME], deadline_s=5, at_least={HOME: Position(40, -1)})
    assert (found, parts.targets) == ({HOME: Position(41, 8)}, {})
    assert not await handler.has_lost_states()


@pytest.mark.parametrize("target", [None, Position(7, -1)], ids=["lost", "being rebuilt"])
async def test_a_partition_without_whole_states_is_passed_over(parts: Parts, target: Position | None) -> None:
    if target is None:
        del parts.positions[HOME]
    else:
        parts.targets[HOME] = target
    handler = made(parts)
    assert await handler.resume([HOME], deadline_s=5) == {}
    assert not await take(handler, [purchase(0)])
    assert parts.sent == []
