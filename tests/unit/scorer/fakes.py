"""Stand-ins for Redis and Kafka behind the scorer's ports: as simple as a dict and a list, and as strict."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import msgspec

from services.scorer.checkout import Checkout
from services.scorer.claims import Claim, IndexIncomplete
from services.scorer.decider import Decider
from services.scorer.idempotency import Bound, InFlight
from services.scorer.policies import PolicySlot
from services.scorer.ports import Ports
from services.scorer.slot import ModelSlot
from shared.contracts.rejections import Rejection, RejectionReason
from shared.contracts.transactions import Limits
from shared.exposure import Reservation, Standing
from shared.exposure.store import GRACE_DAYS, MOST_ENTRIES, PENDING_MS, Placed
from shared.feature_state import Position
from shared.kafka.errors import TransientError
from shared.kafka.producer import OutgoingRecord
from shared.policy import load_policy
from tests.unit.scorer.parts import NOW


def clock() -> datetime:
    return datetime.fromisoformat(NOW).astimezone(UTC)


@dataclass
class FakeClaims:
    held: dict[str, Claim] = field(default_factory=dict)
    away: bool = False
    away_for_marks: bool = False
    incomplete: bool = False
    claimed: list[str] = field(default_factory=list)
    """Events, each time that one was."""

    async def lookup(self, event_id: str) -> Claim | None:
        self._answer()
        return self.held.get(event_id)

    async def lookup_all(self, event_ids: Sequence[str]) -> list[Claim | None]:
        return [await self.lookup(event_id) for event_id in event_ids]

    async def claim(self, wanted: Sequence[Claim]) -> list[Claim]:
        self._answer()
        await asyncio.sleep(0)  # where the real one waits for its answer, another may come first
        self.claimed += [claim.event_id for claim in wanted]
        return [self.held.setdefault(claim.event_id, claim) for claim in wanted]

    async def mark_published(self, claims: Sequence[Claim], offsets: Mapping[int, int]) -> None:
        self._answer()
        if self.away_for_marks:
            raise TransientError("redis: away")
        for claim in claims:
            self.held[claim.event_id] = Claim(claim.event_id, claim.fingerprint, claim.decision, published=True)

    def _answer(self) -> None:
        if self.away:
            raise TransientError("redis: away")
        if self.incomplete:
            raise IndexIncomplete("claims may be missing")


@dataclass
class FakeStates:
    states: dict[str, bytes] = field(default_factory=dict)
    position: Position | None = field(default_factory=Position)
    away: bool = False

    async def read_for_requests(self, wanted: Sequence[tuple[int, str]]) -> list[tuple[bytes | None, Position | None]]:
        if self.away:
            raise TransientError("redis: away")
        return [(self.states.get(customer_id), self.position) for _, customer_id in wanted]


@dataclass
class FakeKeys:
    bound: dict[tuple[str, str], tuple[bytes, bool, bytes]] = field(default_factory=dict)
    """(caller, key) to fingerprint, whether it is in flight, and the answer that is kept."""
    away: bool = False
    in_flight_s: float = 5.0
    was_renewed: asyncio.Event = field(default_factory=asyncio.Event)

    async def bind_all(self, wanted: Sequence[Bound]) -> list[bool | bytes | Exception]:
        if self.away:
            raise TransientError("redis: away")
        return [self._bind(*each) for each in wanted]

    def _bind(self, caller: str, key: str, fingerprint: bytes) -> bool | bytes | Exception:
        if (caller, key) not in self.bound:
            self.bound[caller, key] = (fingerprint, True, b"")
            return True
        known, in_flight, answer = self.bound[caller, key]
        if known != fingerprint:
            return Rejection(RejectionReason.CONFLICT, "Idempotency-Key", "the body that it was first used with")
        return InFlight() if in_flight else answer or False

    async def release_all(self, bound: Sequence[Bound], answer: bytes = b"") -> None:
        for caller, key, fingerprint in bound:
            self.bound[caller, key] = (fingerprint, False, answer)

    async def renew(self, bound: Bound) -> None:
        self.was_renewed.set()

    def lapse(self) -> None:
        """As time passes: what is in flight and wasn't renewed."""
        self.bound = {name: held for name, held in self.bound.items() if not held[1]}


@dataclass
class FakeAskers:
    noted: set[tuple[str, str]] = field(default_factory=set)
    away: bool = False

    async def note_all(self, asked: Sequence[tuple[str, str]]) -> None:
        if self.away:
            raise TransientError("redis: away")
        self.noted |= set(asked)

    async def has_asked(self, caller: str, event_id: str) -> bool:
        return (caller, event_id) in self.noted


def _now_ms(told: int | None) -> int:
    return int(clock().timestamp() * 1000) if told is None else told


def _judged_later(standing: int, now_ms: int) -> bool:
    return standing > now_ms + 2 * PENDING_MS


@dataclass
class FakeExposures:
    """Customers' accounts: as the scripts keep them, without their key's life."""

    accounts: dict[tuple[int, str], dict[str, tuple[int, Reservation]]] = field(default_factory=dict)
    away: bool = False

    async def reserve(self, wanted: Sequence[Placed], limit_cents: int | None, now_ms: int | None = None) -> list[bool]:
        await self._answer()
        return [self._reserve(*placed, limit_cents, _now_ms(now_ms)) for placed in wanted]

    def _reserve(
        self, partition: int, customer_id: str, mine: Reservation, limit_cents: int | None, now_ms: int
    ) -> bool:
        account = self.accounts.setdefault((partition, customer_id), {})
        crowded = len(account) > MOST_ENTRIES
        for event_id, (standing, held) in list(account.items()):
            if event_id != mine.event_id and (0 < standing < now_ms or held.last_due < mine.day - GRACE_DAYS):
                del account[event_id]
        others = [entry for event_id, entry in account.items() if event_id != mine.event_id]
        owed = sum(held.open_on(mine.day) for standing, held in others if standing >= 0)
        before, holds = None, 0
        if mine.event_id in account:
            before, holds = account[mine.event_id][0], account[mine.event_id][1].cents
        if before is not None and (before == 0 or _judged_later(before, now_ms)):
            return True
        if before is not None and before >= now_ms and holds >= mine.cents:
            return True
        if limit_cents is not None and (crowded or owed + mine.cents > limit_cents):
            return False
        if not crowded and (before is None or before > 0):
            account[mine.event_id] = (now_ms + PENDING_MS, mine)
        return True

    async def settle(self, decided: Sequence[tuple[Placed, int]]) -> None:
        await self._answer()
        for placed, standing in decided:
            if self._open(placed):
                self.accounts.setdefault(placed[:2], {})[placed[2].event_id] = (int(standing), placed[2])

    async def take_back(self, wanted: Sequence[Placed], now_ms: int | None = None) -> None:
        await self._answer()
        for partition, customer_id, held in wanted:
            entry = self.accounts.get((partition, customer_id), {}).get(held.event_id)
            if entry is not None and entry[0] > 0 and not _judged_later(entry[0], _now_ms(now_ms)):
                self.accounts.get((partition, customer_id), {}).pop(held.event_id, None)

    def _open(self, placed: Placed) -> bool:
        """Reserved, or not there where there is room."""
        account = self.accounts.get(placed[:2], {})
        held = account.get(placed[2].event_id)
        return len(account) <= MOST_ENTRIES if held is None else held[0] > 0

    async def change(self, partitions: Iterable[int], customer_id: str, event_id: str, standing: Standing) -> None:
        await self._answer()
        for partition in partitions:
            account = self.accounts.get((partition, customer_id), {})
            if event_id in account and account[event_id][0] != Standing.CANCELLED:
                account[event_id] = (standing.value, account[event_id][1])

    async def _answer(self) -> None:
        await asyncio.sleep(0)
        if self.away:
            raise TransientError("redis: away")


@dataclass
class FakeSender:
    sent: list[OutgoingRecord] = field(default_factory=list)
    refused_topics: set[str] = field(default_factory=set)
    """Topics that acknowledge nothing."""

    async def send_all(self, records: Sequence[OutgoingRecord], *, deadline_s: float | None = None) -> list[Any]:
        await asyncio.sleep(0)
        for record in records:
            if record.topic in self.refused_topics:
                raise TransientError("not acknowledged in time")
            self.sent.append(record)
        return [SimpleNamespace(partition=0, offset=offset) for offset, _ in enumerate(records)]

    def on(self, topic: str) -> list[bytes]:
        return [record.value or b"" for record in self.sent if record.topic == topic]


@dataclass
class Outside:
    """All the fakes of a checkout, and the checkout."""

    claims: FakeClaims = field(default_factory=FakeClaims)
    states: FakeStates = field(default_factory=FakeStates)
    keys: FakeKeys = field(default_factory=FakeKeys)
    askers: FakeAskers = field(default_factory=FakeAskers)
    sender: FakeSender = field(default_factory=FakeSender)
    exposures: FakeExposures = field(default_factory=FakeExposures)
    slot: ModelSlot = field(default_factory=ModelSlot)

    async def _confirm(self) -> None:
        return None

    def decider(self, policies: PolicySlot | None = None) -> Decider:
        return Decider(self.slot, policies or PolicySlot(load_policy()), clock)

    def checkout(self, policies: PolicySlot | None = None, behind_s: float = 30.0) -> Checkout:
        ports = Ports(self.states, self.claims, self.keys, self.askers, self.sender, self.exposures, self._confirm)
        return Checkout(
            ports,
            self.decider(policies),
            limits=Limits(),
            partitions=4,
            publish_timeout_s=0.1,
            clock=clock,
            behind_s=behind_s,
        )


def field_of(decision: bytes, name: str) -> object:
    return msgspec.json.decode(decision)[name]
