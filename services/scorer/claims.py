"""Claims: which decision an event has, before and after the topic knows of it.

    d:<event_id>          1 byte state, 16 bytes fingerprint of the purchase, then the Decision, byte for byte as on the
                          topic
    decisions:complete    there while no claim is missing that the topic has a decision for
    decisions:at          partition → offset on risk-decisions up to which every decision has its claim; and, from the
                          last restoring, `u` and the partition → offset on decision-updates up to which accounts follow

A decision is claimed whole (`c`), produced, and marked as published (`p`). Who finds a claim that isn't his answers
with its bytes; if it isn't marked, he first produces it again, unchanged. A crash at any point leaves either nothing,
and the event is decided again, or the full record, and it is produced again.

The topic is the truth, and this is its index. Where Redis may have lost a part of it nothing is claimed until it was
restored (services.scorer.restore), and two things tell, both looked at in the very call that claims: a Redis that was
emptied has no `decisions:complete`; one that was started again, perhaps with its log cut short, or a replica that took
over, doesn't know the script that claims, since scripts outlive neither. Only who has restored the index loads it.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import msgspec
from redis.asyncio import Redis
from redis.exceptions import NoScriptError, ResponseError

from shared.claim_keys import COMPLETE, FINGERPRINT_BYTES, HEAD_BYTES, key_of
from shared.contracts.events import Transaction
from shared.kafka.errors import TransientError
from shared.redis_errors import transient
from shared.redis_scripts import run_script

CLAIMED, PUBLISHED = b"c", b"p"
ANY_BODY = bytes(FINGERPRINT_BYTES)
"""Fingerprint of a restored claim: the topic tells the decision, not the body that it was made of."""

INDEXED = "decisions:at"
UPDATES_MARK = "u"
"""Before the partition, in `decisions:at`."""

CLAIM_SCRIPT = """
if redis.call('EXISTS', KEYS[1]) == 0 then return redis.error_reply('INCOMPLETE') end
local held = {}
for i = 2, #KEYS do held[i - 1] = redis.call('SET', KEYS[i], ARGV[i], 'NX', 'GET', 'PX', ARGV[1]) end
return held
"""
"""KEYS: the mark, claims. ARGV: time to live in milliseconds, claims. Gives
for each what was there before, or nothing."""

CLAIM_SHA = hashlib.sha1(CLAIM_SCRIPT.encode(), usedforsecurity=False).hexdigest()


NOTE_SCRIPT = """
if redis.call('EXISTS', KEYS[1]) == 1 and #ARGV > 0 then redis.call('HSET', KEYS[2], unpack(ARGV)) end
"""
"""KEYS: the mark, how far the index goes. ARGV: partitions and offsets. A script, so that it is unknown together with
the other one: noted before what is missing was restored, it would hide that."""

NOTE_SHA = hashlib.sha1(NOTE_SCRIPT.encode(), usedforsecurity=False).hexdigest()


_MARK = """
for i = 1, #KEYS do
  local held, marked = redis.call('GET', KEYS[i]), false
  if held and string.sub(held, 2) == ARGV[i + 1] then
    marked = type(redis.pcall('SETRANGE', KEYS[i], 0, 'p')) == 'number'
  end
  if marked then
    redis.call('PEXPIRE', KEYS[i], ARGV[1])
  elseif not held or string.sub(held, 1, 1) ~= 'p' or string.sub(held, HEAD) == string.sub(ARGV[i + 1], HEAD - 1) then
    redis.call('SET', KEYS[i], 'p' .. ARGV[i + 1], 'PX', ARGV[1])
  end
end
""".replace("HEAD", str(HEAD_BYTES + 1))
"""KEYS: claims. ARGV: time to live in milliseconds, claims without their state. One that is there as it was claimed is
changed where it stands: written again, it would be in Redis' log twice. A user of an earlier release may only do that:
a mark that fails would have the stream produce its decision again and again. Where another decision is held, the event
was claimed twice, after a loss: that one gives way unless it is published, and others are answered with it."""


class IndexIncomplete(TransientError):
    """Redis may have lost claims: until they are restored, nobody can say whether an event has its decision."""


class About(msgspec.Struct):
    """What a decision tells of its purchase; its other fields may be those of another release."""

    customer_id: str
    transaction_id: str
    occurred_at: str
    features: dict[str, float | None]

    def is_of(self, transaction: Transaction) -> bool:
        """Whether the decision is about this purchase, as far as a decision tells what it was made of.

        Without this, one event's id with any body would get that event's decision: another customer's approval, and
        what is known of him.
        """
        amount = self.features.get("amount")
        return (self.customer_id, self.transaction_id, self.occurred_at) == (
            transaction.customer_id,
            transaction.transaction_id,
            transaction.occurred_at,
        ) and amount in (None, transaction.amount)


_ABOUT = msgspec.json.Decoder(About)


@dataclass(frozen=True, slots=True)
class Claim:
    """The one decision of an event."""

    event_id: str
    fingerprint: bytes
    """Of the purchase that was decided on: another body under the same id is a conflict. ANY_BODY: not known."""
    decision: bytes
    """Exactly as on the topic."""
    published: bool = False

    def about(self) -> About:
        """Raises msgspec.DecodeError."""
        return _ABOUT.decode(self.decision)

    def encode(self, *, published: bool) -> bytes:
        return (PUBLISHED if published else CLAIMED) + self.fingerprint + self.decision

    @staticmethod
    def decode(event_id: str, value: bytes) -> Claim:
        return Claim(event_id, value[1:HEAD_BYTES], value[HEAD_BYTES:], value[:1] == PUBLISHED)


class ClaimStore:
    """Every call raises TransientError where Redis is away or slow; whether a write happened is then not known.

    Looking up and claiming raise IndexIncomplete where Redis may have lost claims.
    """

    def __init__(self, client: Redis, *, ttl_s: int, on_incomplete: Callable[[], None] | None = None) -> None:
        """`client`: without `decode_responses`. `on_incomplete`: called whenever claims turn out to be missing."""
        self._redis = client
        self._ttl_ms = ttl_s * 1000
        self._on_incomplete = on_incomplete

    async def lookup(self, event_id: str) -> Claim | None:
        return (await self.lookup_all([event_id]))[0]

    async def lookup_all(self, event_ids: Sequence[str]) -> list[Claim | None]:
        """In one round trip."""
        async with transient():
            complete, *values = await self._redis.mget([COMPLETE, *map(key_of, event_ids)])
        if complete is None:
            raise self._incomplete("the mark is gone")
        return [
            None if value is None else Claim.decode(event_id, cast(bytes, value))
            for event_id, value in zip(event_ids, values, strict=True)
        ]

    async def claim(self, wanted: Sequence[Claim]) -> list[Claim]:
        """Claim each decision; give the one that the event has: the wanted one, or the one that was there before.

        Atomic, all of them. One round trip.
        """
        keys = [COMPLETE, *(key_of(claim.event_id) for claim in wanted)]
        values = [claim.encode(published=False) for claim in wanted]
        async with transient():
            try:
                call = self._redis.evalsha(CLAIM_SHA, len(keys), *keys, self._ttl_ms, *values)
                held = await cast(Awaitable[list[Any]], call)
            except NoScriptError:
                raise self._incomplete("Redis was started anew") from None
            except ResponseError as error:
                if "INCOMPLETE" not in str(error):
                    raise
                raise self._incomplete("the mark is gone") from None
        return [
            claim if value is None else Claim.decode(claim.event_id, cast(bytes, value))
            for claim, value in zip(wanted, held, strict=True)
        ]

    async def mark_published(self, claims: Sequence[Claim], offsets: Mapping[int, int]) -> None:
        """Note that the topic acknowledged them; their time to live counts from now, like that of a restored claim. One
        that is gone meanwhile is written again, unless another published decision has taken its place.

        `offsets`: by partition, the greatest of their records. Every record before has its claim in Redis already, and
        its log has it before this note: a claim is written before its decision is sent.
        """
        keys = [key_of(claim.event_id) for claim in claims]
        held = [claim.fingerprint + claim.decision for claim in claims]
        reached = [number for pair in offsets.items() for number in pair]
        marking = run_script(self._redis, _MARK, keys, [self._ttl_ms, *held])
        noting = self._redis.evalsha(NOTE_SHA, 2, COMPLETE, INDEXED, *reached)
        async with transient():
            for answer in await asyncio.gather(marking, noting, return_exceptions=True):
                if isinstance(answer, BaseException) and not isinstance(answer, NoScriptError):
                    raise answer

    def _incomplete(self, why: str) -> IndexIncomplete:
        if self._on_incomplete is not None:
            self._on_incomplete()
        return IndexIncomplete(f"claims may be missing: {why}")


def greatest_offsets(metadata: Sequence[Any]) -> dict[int, int]:
    """By partition, from what a producer was answered."""
    found: dict[int, int] = {}
    for each in metadata:
        found[each.partition] = max(each.offset, found.get(each.partition, -1))
    return found
