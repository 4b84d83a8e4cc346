"""What the use cases need of the outside. Each call raises TransientError where what is behind it is away."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from services.scorer.claims import Claim
from services.scorer.idempotency import Keys
from shared.exposure import Standing
from shared.exposure.store import Placed
from shared.feature_state import Position
from shared.kafka.producer import OutgoingRecord


class Claims(Protocol):
    async def lookup(self, event_id: str) -> Claim | None: ...
    async def lookup_all(self, event_ids: Sequence[str]) -> list[Claim | None]: ...
    async def claim(self, wanted: Sequence[Claim]) -> list[Claim]: ...
    async def mark_published(self, claims: Sequence[Claim], offsets: Mapping[int, int]) -> None: ...


class States(Protocol):
    async def read_for_requests(
        self, wanted: Sequence[tuple[int, str]]
    ) -> list[tuple[bytes | None, Position | None]]: ...


class Askers(Protocol):
    async def note_all(self, asked: Sequence[tuple[str, str]]) -> None: ...
    async def has_asked(self, caller: str, event_id: str) -> bool: ...


class Sender(Protocol):
    async def send_all(self, records: Sequence[OutgoingRecord], *, deadline_s: float | None = None) -> Any: ...


class Decisions(Protocol):
    """What was decided. Raises Unavailable where that can't be looked up."""

    async def find(self, event_id: str, asked_by: str | None, *, on_its_way: bool = False) -> bytes | None: ...


class Exposures(Protocol):
    """What customers owe of purchases that were let through."""

    async def reserve(self, wanted: Sequence[Placed], limit_cents: int | None) -> list[bool]: ...
    async def settle(self, decided: Sequence[tuple[Placed, int]]) -> None: ...
    async def take_back(self, wanted: Sequence[Placed]) -> None: ...
    async def change(self, partitions: Iterable[int], customer_id: str, event_id: str, standing: Standing) -> None: ...


@dataclass(frozen=True, slots=True)
class Ports:
    """What a checkout needs of the outside."""

    states: States
    claims: Claims
    keys: Keys
    askers: Askers
    sender: Sender
    exposures: Exposures
    confirm: Callable[[], Awaitable[None]]
    """Raises where the states in Redis must not be used."""
