"""What a row of the catalogue of bad inputs is made of."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from shared.contracts.identity import from_epoch_micros
from shared.contracts.rejections import InputWarning, RejectionReason
from tests import factories

ACCEPTED = 200


@dataclass(frozen=True, slots=True)
class Subject:
    """The valid event that a row spoils. Every row gets one of its own, so that no two are about the same event."""

    number: int = 0
    customer_id: str = "cust_000001"
    now_us: int = factories.START_US + 3_600 * factories.SECOND_US
    """The clock that the future is measured against, microseconds since 1970."""

    @property
    def event_id(self) -> str:
        return f"event-{self.number}"

    def purchase(self, **changes: Any) -> bytes:
        """The purchase as JSON, an hour old. `changes` as in `tests.factories.transaction`."""
        return json.dumps(self._purchase(changes), ensure_ascii=False).encode()

    def purchase_with(self, old: str, new: str) -> bytes:
        """The purchase with a piece of its JSON text replaced: for what no JSON writer would write."""
        return _swap(self._purchase({}), old, new)

    def outcome(self, **changes: Any) -> bytes:
        """What became of it, as JSON."""
        return json.dumps(self._outcome(changes), ensure_ascii=False).encode()

    def outcome_with(self, old: str, new: str) -> bytes:
        return _swap(self._outcome({}), old, new)

    def after(self, seconds: int) -> str:
        """A moment so long after now, in canonical form."""
        return from_epoch_micros(self.now_us + seconds * factories.SECOND_US)

    def _purchase(self, changes: dict[str, Any]) -> dict[str, Any]:
        own = {"customer_id": self.customer_id, "occurred_at": self.after(-3_600)}
        return factories.transaction(self.number, **(own | changes))

    def _outcome(self, changes: dict[str, Any]) -> dict[str, Any]:
        own = {"customer_id": self.customer_id}
        return factories.outcome(self.number, observed_us=self.now_us, **(own | changes))


def _swap(body: dict[str, Any], old: str, new: str) -> bytes:
    text = json.dumps(body)
    assert text.count(old) >= 1, f"{old} is not in the event"
    return text.replace(old, new, 1).encode()


Make = Callable[[Subject], bytes]


@dataclass(frozen=True, slots=True)
class BadInput:
    """A body that both doors judge alike."""

    row: str
    name: str
    make: Make
    reason: RejectionReason | None = None
    """None: it is accepted."""
    field: str = ""
    status: int = ACCEPTED
    """Of the REST door."""
    warnings: frozenset[InputWarning] = frozenset()
    schema_version: str | None = None
    """Named beside the body: in the record's header, or in the request's."""

    def __str__(self) -> str:
        return f"{self.row} {self.name}"


@dataclass(frozen=True, slots=True)
class BadRecord:
    """A record whose flaw isn't in its body, so only the topic can bring it."""

    row: str
    name: str
    reason: RejectionReason | None
    value: Callable[[Subject], bytes | None] = Subject.purchase
    key: Callable[[Subject], bytes | None] = lambda subject: subject.customer_id.encode()
    headers: tuple[tuple[str, bytes | None], ...] = ()
    misplaced: bool = False
    """It lies in the partition after the one that its key gives."""

    def __str__(self) -> str:
        return f"{self.row} {self.name}"


@dataclass(frozen=True, slots=True)
class BadPair:
    """Two bodies of one customer, one after the other; the second is odd only because of the first."""

    row: str
    name: str
    make: Callable[[Subject], tuple[bytes, bytes]]
    reason: RejectionReason | None = None
    status: int = ACCEPTED
    warnings: frozenset[InputWarning] = frozenset()
    repeated: bool = False
    """The second has no effect: over REST it gets the first one's decision."""

    def __str__(self) -> str:
        return f"{self.row} {self.name}"


@dataclass(frozen=True, slots=True)
class BadRequest:
    """A request whose flaw isn't in its body, so only REST can bring it."""

    row: str
    name: str
    status: int
    reason: str
    body: Make = Subject.purchase
    headers: tuple[tuple[str, str], ...] = ()
    method: str = "POST"
    path: str = "/v1/decisions"
    chunked: bool = False
    """Sent in pieces, without saying how long it will be."""

    def __str__(self) -> str:
        return f"{self.row} {self.name}"


@dataclass(frozen=True, slots=True)
class BadLine:
    """What the source sends in place of an event."""

    row: str
    name: str
    sent: bytes
    """Raw, after some good lines."""
    reason: RejectionReason = RejectionReason.SYNTAX
    cut: bool = False
    """The connection ends there."""

    def __str__(self) -> str:
        return f"{self.row} {self.name}"
