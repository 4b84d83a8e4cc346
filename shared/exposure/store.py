"""The accounts in Redis.

    {pN}:x:<customer_id>    hash: the purchase's name → its entry (entries.py)

A purchase counts, was released, or is reserved until some moment: for whoever claims the decision, who makes it count
or releases it, and if he dies before, it ends by itself; or for whoever judges a review. Purchases of before they had
names stand under their event ids, and are moved when they change.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Sequence
from typing import Any

from redis.asyncio import Redis

from shared.exposure import entries
from shared.exposure.account import Reservation, Standing
from shared.redis_errors import transient
from shared.redis_scripts import run_script, sha_of

PENDING_MS = 60_000
"""From a reservation to its claim lies one round trip. A process that takes longer than this to make it is dead."""

GRACE_DAYS = 30
"""An account is kept for so long after its last instalment: events may come late. By the wall clock, so those of a
history, whose days lie behind, are kept for longer than they need to be."""
_DAY_MS = 86_400_000

_WAITS_FOR_A_VERDICT = """
local function judged_later(s, now, patience) return s > now + 2 * patience end
"""
"""A review counts up to a time that is weeks away, a reservation for `patience` (twice that, as clocks differ): the one
is settled, the other isn't."""

MOST_ENTRIES = 512
"""Of an account that are gone through: several times those of anybody who buys for himself. One with more, as of a
merchant who calls all of his customers the same, is beyond any limit: adding it up for each purchase would hold Redis
up for everybody else."""

_SAMPLED = 16
"""Entries of such an account that each reservation looks at, and forgets where they are over."""

_NOW = """
local function now_of(told)
  if told >= 0 then return told end
  local clock = redis.pcall('TIME')
  if clock.err then return -told end
  return tonumber(clock[1]) * 1000 + math.floor(tonumber(clock[2]) / 1000)
end
"""
"""Scorers share accounts, and no clock: one that is ahead by more than a reservation lasts would take those of the
others for lapsed. Below 0 it is the caller's own, which counts only where a user of an earlier release may not ask."""

_RESERVE = (
    entries.LUA
    + _WAITS_FOR_A_VERDICT
    + _NOW
    + f"local most, sampled = {MOST_ENTRIES}, {_SAMPLED}"
    + """
local now, patience, limit = now_of(tonumber(ARGV[1])), tonumber(ARGV[2]), tonumber(ARGV[3])
local function open_on(today, cents, day, period, count)
  local due = math.floor((today - day) / period)
  if due >= count then return 0 end
  return cents - math.floor(cents / count) * math.max(due, 0)
end
local granted = {}
for i = 1, #KEYS do
  local at = 3 + (i - 1) * 7
  local name, event, keep = ARGV[at + 1], ARGV[at + 2], tonumber(ARGV[at + 7])
  local cents, day = tonumber(ARGV[at + 3]), tonumber(ARGV[at + 4])
  local sum, mine, released = 0, false, false
  local crowded = redis.call('HLEN', KEYS[i]) > most
  local account
  if crowded then
    account = redis.call('HRANDFIELD', KEYS[i], sampled, 'WITHVALUES')
    for _, field in ipairs({name, event}) do
      local held = redis.call('HGET', KEYS[i], field)
      if held then account[#account + 1] = field; account[#account + 1] = held end
    end
  else
    account = redis.call('HGETALL', KEYS[i])
  end
  for k = 1, #account, 2 do
    local s, c, d, p, n = read(account[k + 1])
    local lapsed = s > 0 and s < now
    if account[k] == name or account[k] == event then
      local counts = s == 0 or judged_later(s, now, patience) or (s > 0 and not lapsed and c >= cents)
      mine, released = mine or counts, released or s < 0
    elseif lapsed or d + p * n < day - 30 then
      redis.call('HDEL', KEYS[i], account[k])
    elseif s >= 0 then
      sum = sum + open_on(day, c, d, p, n)
    end
  end
  if mine then
    granted[i] = 1
  elseif limit >= 0 and (crowded or sum + cents > limit) then
    granted[i] = 0
  elseif crowded or released then
    granted[i] = 1
  else
    local period, count = tonumber(ARGV[at + 5]), tonumber(ARGV[at + 6])
    redis.call('HSET', KEYS[i], name, written(now + patience, cents, day, period, count))
    redis.call('HDEL', KEYS[i], event)
    if redis.call('PTTL', KEYS[i]) < keep then redis.call('PEXPIRE', KEYS[i], keep) end
    granted[i] = 1
  end
end
return granted
"""
)
"""KEYS: an account for each purchase. ARGV: now (`_NOW`) and how long a reservation lasts (milliseconds), the limit
(cents; below 0: none); then for each purchase its name, event, cents, day, period, instalments, and how long to keep
the account (milliseconds). Gives 1 or 0 for each. One that holds its reservation already gets it again, but for more
than it holds: two bodies may come under one event before either is claimed. One that was released has its decision,
and stays released."""

_SETTLE = (
    entries.LUA
    + f"local most = {MOST_ENTRIES}"
    + """
for i = 1, #KEYS do
  local at = (i - 1) * 4
  local held = redis.call('HGET', KEYS[i], ARGV[at + 1]) or redis.call('HGET', KEYS[i], ARGV[at + 2])
  if held and (read(held)) > 0 or not held and redis.call('HLEN', KEYS[i]) <= most then
    redis.call('HSET', KEYS[i], ARGV[at + 1], ARGV[at + 3])
    redis.call('HDEL', KEYS[i], ARGV[at + 2])
    local keep = tonumber(ARGV[at + 4])
    if redis.call('PTTL', KEYS[i]) < keep then redis.call('PEXPIRE', KEYS[i], keep) end
  end
end
"""
)
"""KEYS: an account for each purchase. ARGV: for each its name, event, the entry, how long to keep the account. What is
settled stays: a process that slept meanwhile must not undo a cancellation or a verdict. An account that is beyond any
limit takes in no more: nothing could change that it is."""

_TAKE_BACK = (
    entries.LUA
    + _WAITS_FOR_A_VERDICT
    + _NOW
    + """
local now, patience = now_of(tonumber(ARGV[1])), tonumber(ARGV[2])
for i = 1, #KEYS do
  for at = 2 * i + 1, 2 * i + 2 do
    local held = redis.call('HGET', KEYS[i], ARGV[at])
    local s = held and read(held)
    if s and s > 0 and not judged_later(s, now, patience) then redis.call('HDEL', KEYS[i], ARGV[at]) end
  end
end
"""
)
"""KEYS: an account for each purchase. ARGV: now (`_NOW`) and how long a reservation lasts (milliseconds); for each its
name and event."""

_CHANGE = (
    entries.LUA
    + """
for i = 1, #KEYS do
  local held = redis.call('HGET', KEYS[i], ARGV[1]) or redis.call('HGET', KEYS[i], ARGV[2])
  if held then
    local s, c, d, p, n = read(held)
    if s ~= -2 then
      redis.call('HSET', KEYS[i], ARGV[1], written(tonumber(ARGV[3]), c, d, p, n))
      redis.call('HDEL', KEYS[i], ARGV[2])
    end
  end
end
"""
)
"""KEYS: accounts. ARGV: the purchase's name, its event and its new standing. What was called off stays so, and an
account that doesn't hold the purchase stays as it is."""

Placed = tuple[int, str, Reservation]
"""The customer's partition, the customer, the reservation."""


class ExposureStore:
    """Every call raises TransientError where Redis is away; whether a write happened is then not known, and the same
    call may be made again.

    `now_ms`, milliseconds since 1970: None is now, by Redis' own clock.
    """

    def __init__(self, client: Redis, *, pending_ms: int = PENDING_MS) -> None:
        """`client`: without `decode_responses`."""
        self._redis = client
        self._pending_ms = pending_ms

    async def reserve(self, wanted: Sequence[Placed], limit_cents: int | None, now_ms: int | None = None) -> list[bool]:
        """Whether each purchase stays within the limit together with what the customer owes on its day, others that
        are being decided included. Atomic for each customer; in order."""
        granted = [False] * len(wanted)
        head = [_told(now_ms), self._pending_ms, -1 if limit_cents is None else limit_cents]

        async def reserve(numbers: Sequence[int]) -> None:
            arguments: list[Any] = list(head)
            for number in numbers:
                held = wanted[number][2]
                terms = (held.cents, held.day, held.period_days, held.instalments)
                arguments += [entries.name_of(held.event_id), held.event_id, *terms, _kept_ms(held)]
            answers = await self._run(_RESERVE, [_key(*wanted[number][:2]) for number in numbers], arguments)
            for number, answer in zip(numbers, answers, strict=True):
                granted[number] = bool(answer)

        await asyncio.gather(*(reserve(numbers) for numbers in _by_partition(wanted).values()))
        return granted

    async def settle(self, decided: Sequence[tuple[Placed, int]]) -> None:
        """What each purchase counts, where the account doesn't hold that already: what was called off or judged since
        stays so. Of each a `Standing`, or up to when it counts (milliseconds since 1970)."""

        async def settle(numbers: Sequence[int]) -> None:
            arguments: list[Any] = []
            for number in numbers:
                (_, _, held), standing = decided[number]
                name, entry = entries.name_of(held.event_id), entries.entry_of(standing, held)
                arguments += [name, held.event_id, entry, _kept_ms(held)]
            await self._run(_SETTLE, [_key(*decided[number][0][:2]) for number in numbers], arguments)

        await asyncio.gather(
            *(settle(numbers) for numbers in _by_partition([placed for placed, _ in decided]).values())
        )

    async def take_back(self, wanted: Sequence[Placed], now_ms: int | None = None) -> None:
        """Reservations that came to nothing. What is settled stays, and so does what waits for a verdict."""

        async def take_back(numbers: Sequence[int]) -> None:
            events = [wanted[number][2].event_id for number in numbers]
            arguments: list[Any] = [_told(now_ms), self._pending_ms]
            arguments += [each for event_id in events for each in (entries.name_of(event_id), event_id)]
            await self._run(_TAKE_BACK, [_key(*wanted[number][:2]) for number in numbers], arguments)

        await asyncio.gather(*(take_back(numbers) for numbers in _by_partition(wanted).values()))

    async def change(self, partitions: Iterable[int], customer_id: str, event_id: str, standing: Standing) -> None:
        """The standing of a purchase that is on the customer's account. `partitions`: where that may be."""
        for partition in partitions:
            arguments = [entries.name_of(event_id), event_id, standing.value]
            await self._run(_CHANGE, [_key(partition, customer_id)], arguments)

    @staticmethod
    async def load_scripts(connection: Redis) -> None:
        """Make `restore` and `queue_change` known to the Redis that the connection leads to."""
        async with transient():
            await connection.script_load(_SETTLE)
            await connection.script_load(_CHANGE)

    @staticmethod
    def queue_change(pipe: Any, partitions: Iterable[int], customer_id: str, event_id: str, standing: Standing) -> None:
        """`change`, on a pipeline to a Redis that knows it."""
        for partition in partitions:
            arguments = (entries.name_of(event_id), event_id, standing.value)
            pipe.evalsha(sha_of(_CHANGE), 1, _key(partition, customer_id), *arguments)

    @staticmethod
    def restore(pipe: Any, placed: Placed, standing: int) -> None:
        """Queue `settle`, on a pipeline to a Redis that knows it: what a decision on the topic says that a purchase
        counts for. What was said since, and is still there, stays."""
        partition, customer_id, held = placed
        arguments = (entries.name_of(held.event_id), held.event_id, entries.entry_of(standing, held), _kept_ms(held))
        pipe.evalsha(sha_of(_SETTLE), 1, _key(partition, customer_id), *arguments)

    async def erase(self, partition: int, customer_id: str) -> bool:
        """Delete a customer's account; whether there was one."""
        async with transient():
            return bool(await self._redis.delete(_key(partition, customer_id)))

    async def _run(self, script: str, keys: Sequence[str], arguments: Sequence[Any]) -> Any:
        async with transient():
            return await run_script(self._redis, script, keys, arguments)


def _by_partition(placed: Sequence[Placed]) -> dict[int, list[int]]:
    """Partition → places in `placed`: all of one call lies in one hash slot."""
    found: dict[int, list[int]] = {}
    for number, (partition, _, _) in enumerate(placed):
        found.setdefault(partition, []).append(number)
    return found


def _told(now_ms: int | None) -> int:
    return -int(time.time() * 1000) if now_ms is None else now_ms


def _kept_ms(held: Reservation) -> int:
    return (held.last_due - held.day + GRACE_DAYS) * _DAY_MS


def _key(partition: int, customer_id: str) -> str:
    return f"{{p{partition}}}:x:{customer_id}"
