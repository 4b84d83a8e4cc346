"""Claims restored from risk-decisions, before anything is decided again; and with them what customers owe, as
decisions and the updates to them tell it."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import AsyncIterator, Mapping
from typing import Any, cast

import msgspec
import structlog
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError
from redis.asyncio import Redis

from services.scorer.claims import (
    ANY_BODY,
    CLAIM_SCRIPT,
    CLAIM_SHA,
    INDEXED,
    NOTE_SCRIPT,
    UPDATES_MARK,
    About,
    Claim,
)
from services.scorer.metrics import RESTORED
from services.scorer.reserving import standing_of
from services.scorer.updates import partitions_of, standing_after
from shared.claim_keys import COMPLETE, HEAD_BYTES, key_of
from shared.contracts.headers import EXPOSURE_HEADER, header
from shared.contracts.records import decode_decision_update
from shared.contracts.rejections import Rejection
from shared.contracts.topics import DECISION_UPDATES, DECISIONS
from shared.contracts.wire import UNREADABLE
from shared.exposure import ExposureStore, Reservation, Standing
from shared.kafka.connection import SILENCE_SECONDS, client_arguments
from shared.kafka.errors import TransientError
from shared.redis_errors import transient
from shared.redis_scripts import sha_of
from shared.settings import KafkaSettings

log = structlog.get_logger()

LOCK = "decisions:restoring"
LOCK_MS = 15_000
"""Renewed with each batch. Who holds it and dies keeps the others waiting for so long."""

MARGIN_S, LONGEST_SETTLE_S = 0.5, 5.0
"""Waited on top of what a checkout may take to publish, but no longer in all: what was claimed before the loss has
reached the topic by then, unless Kafka was away as well."""

BATCH_RECORDS = 500
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.1, 2.0

_FINISH = """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[2], '1')
redis.call('DEL', KEYS[1])
return 1
"""
"""KEYS: lock, mark. ARGV: the lock's owner. A lock that is gone says that Redis was emptied meanwhile, or that it took
too long and another one may be at it."""


_RESTORE = f"""
local function decision(claim) return string.sub(claim, {HEAD_BYTES + 1}) end
local held = redis.call('GET', KEYS[1])
if not held then
  redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
elseif string.byte(held) ~= string.byte(ARGV[1]) and decision(held) == decision(ARGV[1]) then
  redis.call('SET', KEYS[1], string.sub(ARGV[1], 1, 1) .. string.sub(held, 2), 'PX', ARGV[2])
end
"""
"""KEYS: a claim. ARGV: what the topic tells of it, and its time to live in milliseconds. The first decision of an event
counts. A claim that is there already knows its purchase as well; that it is published may have been lost."""


class _Decided(About, gc=False):
    """What every decision tells, of whatever release."""

    event_id: str


_DECIDED = msgspec.json.Decoder(_Decided)


class _StartedOver(Exception):
    """What was restored may be lost again."""


class ClaimRestorer:
    """Restores the index at the start of the process and whenever a claim found it incomplete. One process at a time.

    All of it happens on one connection, so that a Redis that is started again meanwhile can't pass unnoticed, and under
    a lock that vanishes with the rest where Redis is emptied.
    """

    def __init__(self, client: Redis, kafka: KafkaSettings, *, ttl_s: int, settle_s: float, debts_s: int = 0) -> None:
        """`settle_s`: what a decision that is claimed may take until the topic has it. `debts_s`: for how long a
        purchase may be owed: accounts are restored from so far back, claims from no further than `ttl_s`."""
        self._redis = client
        self._kafka = kafka
        self._ttl_ms, self._debts_ms = ttl_s * 1000, debts_s * 1000
        self._settle_s = settle_s
        self._updates = [TopicPartition(DECISION_UPDATES.name, number) for number in range(kafka.partitions)]
        self._wanted = asyncio.Event()
        self._wanted.set()

    def wake(self) -> None:
        """Have a look."""
        self._wanted.set()

    async def run(self, stop: asyncio.Event) -> None:
        """Until `stop` is set."""
        stopping = asyncio.create_task(stop.wait())
        try:
            while not stop.is_set():
                looking = asyncio.create_task(self._patiently())
                await asyncio.wait((looking, stopping), return_when=asyncio.FIRST_COMPLETED)
                if not looking.done():
                    looking.cancel()
                    await asyncio.gather(looking, return_exceptions=True)
                    return
                await looking
        finally:
            stopping.cancel()

    async def _patiently(self) -> None:
        await self._wanted.wait()
        self._wanted.clear()
        pause = FIRST_PAUSE_S
        while True:
            try:
                if await self.restore():
                    return
            except _StartedOver:
                log.warning("claims_lost_again_while_restoring")
            except (TransientError, KafkaError, OSError) as error:
                log.warning("claims_not_restored_yet", error=str(error)[:200])
            await asyncio.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE_S)

    async def restore(self) -> bool:
        """Whether the index is complete now. False while another process is at it."""
        async with transient(), self._redis.client() as connection:
            known = (await connection.script_exists(CLAIM_SHA))[0]
            if known and await connection.exists(COMPLETE):
                return True
            owner = uuid.uuid4().hex
            if not await connection.set(LOCK, owner, nx=True, px=LOCK_MS):
                return False
            await self._fill(connection)
            finish: Any = connection.eval(_FINISH, 2, LOCK, COMPLETE, owner)
            if not await finish:
                raise _StartedOver
            await connection.script_load(NOTE_SCRIPT)
            await connection.script_load(CLAIM_SCRIPT)
        return True

    async def _fill(self, connection: Redis) -> None:
        """Write the claims that the topic has and Redis may not have."""
        marked = await connection.exists(COMPLETE)
        held: Any = await cast(Any, connection.hgetall(INDEXED)) if marked else {}
        started, restored = time.monotonic(), 0
        consumer = AIOKafkaConsumer(
            **client_arguments(self._kafka), enable_auto_commit=False, max_partition_fetch_bytes=8_388_608,
            # Where retention moves on meanwhile it begins again, and passes over nothing.
            auto_offset_reset="none",
        )  # fmt: skip
        try:
            await consumer.start()
            places = [TopicPartition(DECISIONS.name, number) for number in range(self._kafka.partitions)]
            if not any((await consumer.end_offsets(places)).values()):
                return
            # Others, and we, may have claimed before the loss what reaches the topic only now.
            await asyncio.sleep(min(self._settle_s + MARGIN_S, LONGEST_SETTLE_S))
            # Before the decisions' ends: an update that is noted as followed is of a decision that is noted as well.
            followed = await consumer.end_offsets(self._updates)
            ends = await consumer.end_offsets(places)
            start = await self._first_of_interest(consumer, places)
            for place in places:
                start[place] = max(start[place], _noted(held, f"{place.partition}", ends[place], -1) + 1)
            await ExposureStore.load_scripts(connection)
            await connection.script_load(_RESTORE)
            restored = await self._read(connection, consumer, start, ends)
            await self._follow_updates(connection, consumer, held, followed)
        finally:
            await consumer.stop()
        log.warning("claims_restored", records=restored, whole=not marked, seconds=round(time.monotonic() - started, 1))

    async def _first_of_interest(
        self, consumer: AIOKafkaConsumer, places: list[TopicPartition]
    ) -> dict[TopicPartition, int]:
        """The first record that isn't older than a claim's time to live, or than what is still owed may be."""
        oldest_ms = max(0, int(time.time() * 1000) - max(self._ttl_ms, self._debts_ms))
        found = await consumer.offsets_for_times(dict.fromkeys(places, oldest_ms))
        ends = await consumer.end_offsets(places)
        return {place: ends[place] if found[place] is None else found[place].offset for place in places}

    async def _read(
        self,
        connection: Redis,
        consumer: AIOKafkaConsumer,
        start: Mapping[TopicPartition, int],
        ends: Mapping[TopicPartition, int],
    ) -> int:
        restored = 0
        async for fetched in _records(consumer, start, ends):
            pipe = connection.pipeline(transaction=False)  # to be filled; sent by `_at_once`
            now_ms = int(time.time() * 1000)
            for place, records in fetched.items():
                for record in records:
                    left_ms = self._ttl_ms - (now_ms - record.timestamp)
                    decided = _decided(record.value)
                    if decided is None:
                        continue
                    _restore_account(pipe, place.partition, decided, record, self._ttl_ms, now_ms)
                    if left_ms > 0:
                        claim = Claim(decided.event_id, ANY_BODY, record.value)
                        value = claim.encode(published=True)
                        pipe.evalsha(sha_of(_RESTORE), 1, key_of(decided.event_id), value, left_ms)
                        restored += 1
                pipe.hset(INDEXED, str(place.partition), str(records[-1].offset))
            pipe.pexpire(LOCK, LOCK_MS)
            await _at_once(connection, pipe)
        RESTORED.inc(restored)
        return restored

    async def _follow_updates(
        self,
        connection: Redis,
        consumer: AIOKafkaConsumer,
        held: Mapping[bytes, bytes],
        followed: Mapping[TopicPartition, int],
    ) -> None:
        """What was said after decisions that are still known, in order, however often: all of it, or where `held` notes
        what an earlier restoring has followed, what came since. `followed`: what is noted in the end."""
        start, ends = await self._first_of_interest(consumer, self._updates), await consumer.end_offsets(self._updates)
        for place in self._updates:
            start[place] = max(start[place], _noted(held, f"{UPDATES_MARK}{place.partition}", ends[place], 0))
        async for fetched in _records(consumer, start, ends):
            pipe = connection.pipeline(transaction=False)
            for record in (record for records in fetched.values() for record in records):
                try:
                    update = decode_decision_update(record.value)
                except Rejection:
                    continue  # anybody may have put it there
                where = partitions_of(update.customer_id, self._kafka.partitions)
                standing = standing_after(update)
                ExposureStore.queue_change(pipe, where, update.customer_id, update.event_id, standing)
            pipe.pexpire(LOCK, LOCK_MS)
            await _at_once(connection, pipe)
        pipe = connection.pipeline(transaction=False)
        for place, offset in followed.items():
            pipe.hset(INDEXED, f"{UPDATES_MARK}{place.partition}", str(offset))
        await _at_once(connection, pipe)


async def _at_once(connection: Redis, pipe: Any) -> None:
    """What the pipeline was filled with, on this very connection: one of the pool's would be made anew where Redis was
    started again, and what follows a gap would be written as if there were none."""
    link = cast(Any, connection).connection
    commands = [arguments for arguments, _ in pipe.command_stack]
    try:
        await link.send_packed_command(link.pack_commands(commands))
        for _ in commands:
            await link.read_response()
    except BaseException:
        await link.disconnect()  # with answers that nobody has read
        raise


async def _records(
    consumer: AIOKafkaConsumer, start: Mapping[TopicPartition, int], ends: Mapping[TopicPartition, int]
) -> AsyncIterator[dict[TopicPartition, list[Any]]]:
    """What lies between, as it is fetched. Raises TransientError where nothing comes any more."""
    wanted = {place for place, offset in start.items() if offset < ends[place]}
    if not wanted:
        return
    consumer.assign(list(wanted))
    for place in wanted:
        consumer.seek(place, start[place])
    heard = time.monotonic()
    while wanted:
        fetched = await consumer.getmany(timeout_ms=200, max_records=BATCH_RECORDS)
        if fetched:
            heard = time.monotonic()
        elif time.monotonic() - heard > SILENCE_SECONDS:
            raise TransientError(f"no records of {next(iter(wanted)).topic}, though there are some")
        yield fetched
        for place in list(wanted):
            if await consumer.position(place) >= ends[place]:
                wanted.discard(place)
                consumer.pause(place)


def _noted(held: Mapping[bytes, bytes], name: str, end: int, nothing: int) -> int:
    """An offset; `nothing` where none is noted, or one beyond the end, of a topic that was made anew since."""
    offset = int(held.get(name.encode(), nothing))
    return offset if offset <= end else nothing


def _decided(value: bytes | None) -> _Decided | None:
    """None for what is no decision: anybody may have put it there."""
    try:
        return _DECIDED.decode(value or b"")
    except UNREADABLE:
        return None


def _restore_account(
    pipe: Any, partition: int, decided: _Decided, record: Any, judged_for_ms: int, now_ms: int
) -> None:
    terms = header(record.headers, EXPOSURE_HEADER)
    if terms is None:
        return  # decided by a release that kept no accounts
    try:
        reservation = Reservation.parse(decided.event_id, terms)
        standing = standing_of(record.value, judged_for_ms)
    except (ValueError, TypeError, *UNREADABLE):  # a time without its zone is a TypeError
        return  # as above
    if 0 < standing < now_ms:
        standing = Standing.RELEASED  # of a review that is over: a verdict that was given in time makes it count yet
    ExposureStore.restore(pipe, (partition, decided.customer_id, reservation), standing)
