"""States and position of a partition, moving together.

Everything of partition N lies in one hash slot (`{pN}:…`), so that one call can change all of it:

    {pN}:c:<customer_id>   the customer's state (shared.feature_definitions.CustomerState), packed
    {pN}:pos               "<transactions>,<outcomes>": offsets up to and including which records are in the states
    {pN}:refused           offsets of bnpl-transactions refused because of state, for the sink
    {pN}:rebuilding        a position: until it is reached, the states are those of an earlier time
    flit:partitions        the partition count that all of this was made with
    flit:pseudonyms        which key customers' pseudonyms were made with; absent: they have none

The position is written before anything else of a partition: where it is missing, Redis lost the partition.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import redis.asyncio
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import NoScriptError

from shared.feature_state.packing import packed, unpacked
from shared.feature_state.position import EMPTY, Move, Position, Standing
from shared.redis_errors import transient
from shared.redis_primary import leaving_replicas

KEPT_REFUSALS = 100_000
"""Of the latest ones in each partition. The sink needs them only until it has passed them; where some were forgotten
before that (`remembers_refusals`), it asks their letters."""

_COMMIT = """
local held = redis.call('GET', KEYS[1])
if not held then return 'lost' end
if held == ARGV[2] then return 'OK' end
if held ~= ARGV[1] then return held end
for i = 4, #KEYS do redis.call('SET', KEYS[i], ARGV[i - 1]) end
for i = #KEYS + 1, #ARGV do redis.call('ZADD', KEYS[2], ARGV[i], ARGV[i]) end
if #ARGV > #KEYS then redis.call('ZREMRANGEBYRANK', KEYS[2], 0, -1 - tonumber(ARGV[#KEYS])) end
redis.call('SET', KEYS[1], ARGV[2])
if redis.call('GET', KEYS[3]) == ARGV[2] then redis.call('DEL', KEYS[3]) end
return 'OK'
"""
"""KEYS: position, refusals, rebuilding, states. ARGV: expected and new position, states, how many refusals to keep,
refusals.

A write that finds its own new position was done before, and its answer was lost: states and refusals follow from the
records up to a position, so nothing is left to do.
"""

_BEGIN = """
local held = redis.call('GET', KEYS[1])
if held then return held end
redis.call('DEL', KEYS[2], KEYS[3])
if ARGV[1] ~= ARGV[2] then redis.call('SET', KEYS[3], ARGV[1]) end
redis.call('SET', KEYS[1], ARGV[2])
return 'OK'
"""
"""KEYS: position, refusals, rebuilding. ARGV: the position to rebuild up to, and the one of empty states."""

_DROP = """
if redis.call('EXISTS', KEYS[1]) == 1 then return 0 end
redis.call('UNLINK', unpack(KEYS, 2))
return 1
"""
"""KEYS: position, states. Deletes only while there is no position: a process that was held up while it deleted must not
take away what another one has rebuilt meanwhile."""

_FALL_BEHIND = """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[2], ARGV[2])
return 1
"""
"""KEYS: position, rebuilding. ARGV: the position that is held, and the one that it was before."""

DROPPED_AT_ONCE = 500
"""States in one call: Lua unpacks some thousands of values at most, and others wait while it runs."""

_COMMIT_SHA = hashlib.sha1(_COMMIT.encode(), usedforsecurity=False).hexdigest()

TRIES_AGAIN = 1
"""By the client itself, at once: a pooled connection may have been closed from the other side since its last use. More
would hide an outage for seconds from callers who have a deadline."""


class FencedOff(Exception):
    """Another process has moved the partition on: this one doesn't own it any more, whatever it believes."""


class StatesLost(Exception):
    """Redis has lost the partition's position, and whatever else of it, or its states are those of an earlier time,
    since it came back without its last writes: it has to be rebuilt from the log."""


class PartitionCountMismatch(Exception):
    """The states were made with another partition count: customers would be looked for in the wrong place."""


class PseudonymMismatch(PartitionCountMismatch):
    """The states were made with other pseudonyms, or without: customers would be looked for under the wrong name."""


class FeatureStateStore:
    """Every call raises TransientError where Redis is away, slow, or still loading."""

    def __init__(self, client: redis.asyncio.Redis, *, pseudonyms: str = "") -> None:
        """`client`: without `decode_responses`. `pseudonyms`: the mark of the key (Pseudonyms.mark)."""
        self._redis = client
        self._pseudonyms = pseudonyms

    @classmethod
    def connect(cls, url: str, *, timeout_s: float = 5.0, pseudonyms: str = "") -> FeatureStateStore:
        """`timeout_s`: for connecting and for each answer."""
        client = redis.asyncio.Redis.from_url(
            url,
            socket_timeout=timeout_s,
            socket_connect_timeout=timeout_s,
            retry=Retry(NoBackoff(), TRIES_AGAIN),
        )
        return cls(leaving_replicas(client), pseudonyms=pseudonyms)

    async def close(self) -> None:
        await self._redis.aclose()

    async def check_partitions(self, count: int) -> None:
        """Record the partition count and the pseudonyms' mark the first time; raise PartitionCountMismatch, or its kind
        PseudonymMismatch, where they are others."""
        async with transient():
            # The mark first: who finds a partition count then finds the mark of the same states, or that there is none.
            if self._pseudonyms and await self._redis.get("flit:partitions") is None:
                await self._redis.set("flit:pseudonyms", self._pseudonyms, nx=True)
            held = await self._redis.set("flit:partitions", count, nx=True, get=True)
            mark = await self._redis.get("flit:pseudonyms")
        self._compare(held, mark, count)

    async def compare_partitions(self, count: int) -> None:
        """The same for a command that is called by hand, which leaves nothing behind: where nothing is recorded, it
        can't be told."""
        async with transient():
            held, mark = [await self._redis.get(key) for key in ("flit:partitions", "flit:pseudonyms")]
        if held is not None:
            self._compare(held, mark, count)

    def _compare(self, held: Any, mark: Any, count: int) -> None:
        if held is not None and int(held) != count:
            raise PartitionCountMismatch(f"states were made with {int(held)} partitions, KAFKA__PARTITIONS is {count}")
        if (mark or b"") != self._pseudonyms.encode():
            raise PseudonymMismatch("states were made with another PRIVACY__PSEUDONYM_KEY, or without one")

    async def position(self, partition: int) -> Position:
        """For readers who only wait for it to come: a lost one has come nowhere yet."""
        async with transient():
            return Position.parse(await self._redis.get(_position_key(partition)))

    async def standing(self, partition: int) -> Standing:
        async with transient():
            position, target = await self._redis.mget([_position_key(partition), _rebuilding_key(partition)])
        return Standing(
            None if position is None else Position.parse(position), None if target is None else Position.parse(target)
        )

    async def begin(self, partition: int, target: Position, *, at: Position = EMPTY) -> None:
        """Write the first position of a partition that has none, over no states at all: `at`.

        `target`: the position that it had before it was lost, up to which it counts as being rebuilt; EMPTY where it is
        new. Raises FencedOff where another process has begun.
        """
        position = _position_key(partition)
        async with transient():
            found: list[Any] = []
            async for key in self._redis.scan_iter(_state_key(partition, "*"), count=1000):
                found.append(key)
                if len(found) == DROPPED_AT_ONCE:
                    await self._redis.eval(_DROP, 1 + len(found), position, *found)
                    found.clear()
            if found:
                await self._redis.eval(_DROP, 1 + len(found), position, *found)
            keys = [position, _refused_key(partition), _rebuilding_key(partition)]
            answer = await self._redis.eval(_BEGIN, len(keys), *keys, str(target), str(at))
        if answer != b"OK":
            raise FencedOff(f"partition {partition} is at {answer.decode()}, begun by another process")

    async def fall_behind(self, partition: int, held: Position, target: Position) -> bool:
        """Count the partition as being rebuilt, from the position that it holds up to `target`, where it has been.

        False where it holds another position by now: nothing was changed then.
        """
        keys = [_position_key(partition), _rebuilding_key(partition)]
        async with transient():
            return bool(await self._redis.eval(_FALL_BEHIND, 2, *keys, str(held), str(target)))

    async def forget(self, partition: int) -> None:
        """Give the partition up for lost, so that whoever owns it next rebuilds it."""
        async with transient():
            await self._redis.delete(_position_key(partition))

    async def erase(self, partition: int, customer_id: str) -> bool:
        """Delete a customer's state; whether there was one.

        A batch that has read the state before writes it again: a caller who wants it gone for good looks once more
        after the position has moved.
        """
        async with transient():
            return bool(await self._redis.delete(_state_key(partition, customer_id)))

    async def read_states(
        self, wanted: Mapping[int, Sequence[str]], at: Mapping[int, Position]
    ) -> dict[int, dict[str, bytes | None]]:
        """Partition → customer → state; None for one who isn't known yet. One round trip for all partitions.

        `at`: for each partition the position that the states have to be of. Raises StatesLost where there is none or an
        earlier one, and FencedOff where it is a later one: what would be made of these states would be wrong.
        """
        asked = {partition: names for partition, names in wanted.items() if names}
        if not asked:
            return {}
        async with transient():
            pipe = self._redis.pipeline(transaction=False)
            for partition, names in asked.items():
                pipe.mget([_position_key(partition), *(_state_key(partition, name) for name in names)])
            answers = await pipe.execute()
        for partition, (held, *_) in zip(asked, answers, strict=True):
            if held is None:
                raise StatesLost(f"partition {partition} has no position")
            if Position.parse(held) != at[partition]:
                raise _elsewhere(partition, Position.parse(held), at[partition])
        return {
            partition: {name: _unpacked(state) for name, state in zip(names, states, strict=True)}
            for (partition, names), (_, *states) in zip(asked.items(), answers, strict=True)
        }

    async def read_for_requests(self, wanted: Sequence[tuple[int, str]]) -> list[tuple[bytes | None, Position | None]]:
        """Of each (partition, customer) the state, and the position that it is of: both of the same moment.

        No position: the states are lost or being rebuilt, and say nothing of the customer.
        """
        by_partition: dict[int, list[int]] = {}
        for number, (partition, _) in enumerate(wanted):
            by_partition.setdefault(partition, []).append(number)
        reads = [
            self._redis.mget(
                [_position_key(partition), _rebuilding_key(partition)]
                + [_state_key(partition, wanted[number][1]) for number in numbers]
            )
            for partition, numbers in by_partition.items()
        ]
        async with transient():
            answers = await asyncio.gather(*reads)
        found: list[tuple[bytes | None, Position | None]] = [(None, None)] * len(wanted)
        for numbers, (position, target, *states) in zip(by_partition.values(), answers, strict=True):
            if position is None or target is not None:
                continue
            at = Position.parse(position)
            for number, state in zip(numbers, states, strict=True):
                found[number] = _unpacked(state), at
        return found

    async def commit(self, moves: Sequence[Move]) -> None:
        """Write each partition's states, refusals and new position at once, if its position is still the expected one.

        One round trip; each partition for itself. Raises StatesLost where a position is gone or an earlier one than the
        expected, FencedOff where it is a later one: others may have moved. A partition that reaches what it was to be
        rebuilt up to counts as whole from then on. After a TransientError the writes may or may not have happened: the
        same call may be made again, and does nothing where they have.
        """
        async with transient():
            answers = await self._run(moves)
            if any(isinstance(answer, NoScriptError) for answer in answers):
                await self._redis.script_load(_COMMIT)
                answers = await self._run(moves)
            for move, answer in zip(moves, answers, strict=True):
                if isinstance(answer, Exception):
                    raise answer
                if answer == b"lost":
                    raise StatesLost(f"partition {move.partition} has no position")
                if answer != b"OK":
                    raise _elsewhere(move.partition, Position.parse(answer), move.expected)

    async def _run(self, moves: Sequence[Move]) -> list[Any]:
        pipe = self._redis.pipeline(transaction=False)
        for move in moves:
            keys = [
                _position_key(move.partition),
                _refused_key(move.partition),
                _rebuilding_key(move.partition),
                *(_state_key(move.partition, name) for name in move.states),
            ]
            arguments: list[Any] = [
                str(move.expected),
                str(move.new),
                *map(packed, move.states.values()),
                KEPT_REFUSALS,
                *move.refused,
            ]
            pipe.evalsha(_COMMIT_SHA, len(keys), *keys, *arguments)
        return await pipe.execute(raise_on_error=False)

    async def refused_between(self, partition: int, low: int, high: int) -> set[int]:
        """Offsets in [low, high] of transactions that were refused because of state."""
        async with transient():
            members = await self._redis.zrangebyscore(_refused_key(partition), low, high)
        return {int(member) for member in members}  # type: ignore[arg-type]

    async def remembers_refusals(self, partition: int, low: int) -> bool:
        """Whether none from offset `low` on was forgotten, of those that `refused_between` was asked for before.

        The earliest are forgotten first: where there is an earlier one still, or there are fewer than are kept, none
        was. Of exactly as many as are kept it can't be told, so that is a no.
        """
        key = _refused_key(partition)
        async with transient():
            if await self._redis.zrangebyscore(key, "-inf", f"({low}", start=0, num=1):
                return True
            return not await self._redis.zrangebyscore(key, low, "+inf", start=KEPT_REFUSALS - 1, num=1)


def _elsewhere(partition: int, held: Position, expected: Position) -> Exception:
    if held.is_behind(expected):
        return StatesLost(f"partition {partition} went back from {expected} to {held}")
    return FencedOff(f"partition {partition} is at {held}, not at {expected}")


def _unpacked(value: bytes | str | None) -> bytes | None:
    """Text only for the types: the client is made without decoding."""
    return None if value is None else unpacked(value.encode() if isinstance(value, str) else value)


def _position_key(partition: int) -> str:
    return f"{{p{partition}}}:pos"


def _refused_key(partition: int) -> str:
    return f"{{p{partition}}}:refused"


def _rebuilding_key(partition: int) -> str:
    return f"{{p{partition}}}:rebuilding"


def _state_key(partition: int, customer_id: str) -> str:
    return f"{{p{partition}}}:c:{customer_id}"
