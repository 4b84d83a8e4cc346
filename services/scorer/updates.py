"""What is said after a decision, put on decision-updates: a purchase is called off, a reviewer gives his verdict."""

from __future__ import annotations

import contextlib
import hashlib
import uuid
from collections.abc import Iterable
from dataclasses import dataclass

import msgspec
import structlog

from services.scorer.checkout import Unavailable
from services.scorer.decider import Clock, utc_now
from services.scorer.idempotency import KeyGuard
from services.scorer.library import PolicyLibrary
from services.scorer.outgoing import update_record
from services.scorer.ports import Decisions, Exposures, Sender
from shared.contracts.events import Decision, DecisionUpdate, UpdateKind, Verdict, encode
from shared.contracts.identity import canonical_time, partition_of
from shared.contracts.pseudonyms import Pseudonyms
from shared.contracts.rejections import Rejection, RejectionReason
from shared.contracts.transactions import check_id
from shared.contracts.wire import JsonObject, parse_object
from shared.exposure import Standing
from shared.kafka.errors import TransientError
from shared.policy.adverse_action import AdverseActionNotice, after_verdict

log = structlog.get_logger()

MAX_BODY_BYTES = 8_192
MAX_NOTE_LENGTH = 1_000
_DECISION = msgspec.json.Decoder(Decision)
_ANYBODY = ""
"""No caller's name."""
_UNSETTLED = b"!"
"""Kept with a key, in place of an answer: the topic has the update, the customer's account doesn't follow yet."""


class VerdictTaken(DecisionUpdate, frozen=True, kw_only=True):
    """The update as it is on the topic, and what follows for whoever writes to the customer."""

    adverse_action: AdverseActionNotice | None
    """What a notice has to tell, where the verdict is a decline."""


@dataclass(frozen=True, slots=True)
class Said:
    """Of a decision."""

    kind: UpdateKind
    verdict: Verdict | None
    actor: str
    note: str | None
    caller: str
    idempotency_key: str | None
    only_first: bool = False
    """Only where nobody else has said something of the kind in this way before."""

    def bound_to(self, event_id: str) -> tuple[str, str | None]:
        """Whose key it is, and which: the first word on an event is one for all callers."""
        return (_ANYBODY, f"{self.kind.value} {event_id}") if self.only_first else (self.caller, self.idempotency_key)

    def fingerprint(self, event_id: str) -> bytes:
        """16 bytes of all that is asked for: a key that comes again with another event is no repetition."""
        parts = (event_id, self.kind.value, self.verdict or "", self.actor, self.note or "")
        return hashlib.sha256("\x1f".join(parts).encode()).digest()[:16]


class Updates:
    """Guarantee: what was answered 202 is on the topic. With an Idempotency-Key the same update is recorded once,
    however often it is sent, or again under its own `update_id` where it wasn't answered; without one each is an update
    of its own. The customer's account follows what the topic says last."""

    def __init__(
        self,
        decisions: Decisions,
        keys: KeyGuard,
        sender: Sender,
        exposures: Exposures,
        policies: PolicyLibrary,
        *,
        partitions: int,
        publish_timeout_s: float,
        clock: Clock = utc_now,
    ) -> None:
        self._decisions = decisions
        self._keys = keys
        self._sender = sender
        self._exposures = exposures
        self._policies = policies
        self._partitions = partitions
        self._publish_timeout_s = publish_timeout_s
        self._clock = clock

    async def take(self, event_id: str, said: Said, asked_by: str | None) -> bytes | None:
        """The update, once the topic has it; None for an event without a decision.

        `asked_by`: only of a decision that this caller has asked for before; None: of any. Raises Unavailable, also of
        a decision that is on its way to the topic, `Rejection` (conflict) and InFlight for a key that was used
        otherwise.
        """
        found = await self._decisions.find(event_id, asked_by, on_its_way=True)
        if found is None:
            return None
        decision = _DECISION.decode(found)
        # Without its key an update is one of its own; but who asked to be heard only as the first must be that.
        held = self._keys.held(*said.bound_to(event_id), said.fingerprint(event_id), required=said.only_first)
        try:
            async with held as key:
                # What was answered must not follow, said once more, what somebody has said since. What wasn't is said
                # now: the account follows the topic's last word.
                if not key.answer or key.answer.startswith(_UNSETTLED):
                    update = await self._record(decision, said)
                    key.answer = _UNSETTLED
                    await self._settle(decision, said)
                    key.answer = await self._answer(decision, update)
                return key.answer
        except TransientError as error:
            why = "whether a verdict was given before can't be looked up right now"
            raise Unavailable("state-unavailable", why) from error

    async def _record(self, decision: Decision, said: Said) -> DecisionUpdate:
        """The update, once the topic has it. Raises Unavailable."""
        event_id = decision.event_id
        update = DecisionUpdate(
            update_id=_update_id(event_id, said),
            event_id=event_id,
            customer_id=decision.customer_id,
            kind=said.kind,
            verdict=said.verdict,
            actor=said.actor,
            note=said.note,
            updated_at=canonical_time(self._clock()),
        )
        try:
            await self._sender.send_all([update_record(update)], deadline_s=self._publish_timeout_s)
        except TransientError as error:
            log.warning("update_not_published", event_id=event_id, error=str(error)[:200])
            raise Unavailable("kafka-unavailable", "the update can't be recorded right now") from error
        return update

    async def _settle(self, decision: Decision, said: Said) -> None:
        """Once the account follows. Raises Unavailable."""
        customer_id, event_id = decision.customer_id, decision.event_id
        try:
            places = partitions_of(customer_id, self._partitions)
            await self._exposures.change(places, customer_id, event_id, standing_after(said))
        except TransientError as error:
            # Recorded it is; sent again with its key it is the same update, recorded once more, and the account
            # follows.
            log.warning("exposure_not_changed", event_id=event_id, error=str(error)[:200])
            raise Unavailable("state-unavailable", "the customer's account can't be changed right now") from error

    async def _answer(self, decision: Decision, update: DecisionUpdate) -> bytes:
        return encode(update if update.verdict is None else await self._verdict_taken(decision, update))

    async def _verdict_taken(self, decision: Decision, update: DecisionUpdate) -> VerdictTaken:
        policy = None
        if update.verdict is Verdict.DECLINE:
            with contextlib.suppress(OSError):  # the verdict is recorded: its answer must not wait for the registry
                policy = await self._policies.of(decision.policy_version)
        declining, looks = (None, frozenset[str]()) if policy is None else (policy.declining, policy.only_looks)
        notice = after_verdict(decision, update, declining, looks)
        return VerdictTaken(**msgspec.structs.asdict(update), adverse_action=notice)


def standing_after(said: Said | DecisionUpdate) -> Standing:
    """Whether the purchase counts from then on."""
    if said.kind is UpdateKind.CANCEL:
        return Standing.CANCELLED
    return Standing.RELEASED if said.verdict is Verdict.DECLINE else Standing.COUNTS


def partitions_of(customer_id: str, partitions: int) -> Iterable[int]:
    """Where the customer's account may lie: a pseudonym doesn't tell the partition of the name that it stands for."""
    return range(partitions) if Pseudonyms.is_one(customer_id) else [partition_of(customer_id.encode(), partitions)]


def read_cancellation(body: bytes, caller: str, key: str | None) -> Said:
    """`{"note": …}`, or nothing at all. Raises `Rejection`."""
    told = _object(body, {"note"}) if body else {}
    return Said(UpdateKind.CANCEL, None, caller, _note(told), caller, key)


def read_verdict(body: bytes, caller: str, key: str | None, *, only_first: bool = False) -> Said:
    """`{"verdict": "approve" | "decline", "actor": …, "note": …}`; `actor` is the owner of the key where it is left
    out. Raises `Rejection`."""
    told = _object(body, {"verdict", "actor", "note"})
    if "verdict" not in told:
        raise Rejection(RejectionReason.MISSING, "verdict", "approve or decline")
    if told["verdict"] not in (Verdict.APPROVE.value, Verdict.DECLINE.value):
        raise Rejection(RejectionReason.ENUM, "verdict", "approve or decline: a verdict ends the review")
    actor = told.get("actor", caller)
    check_id(actor, "actor")
    if not actor:
        raise Rejection(RejectionReason.LENGTH, "actor", "who gives the verdict")
    return Said(UpdateKind.VERDICT, Verdict(told["verdict"]), actor, _note(told), caller, key, only_first)


def _object(body: bytes, fields: set[str]) -> JsonObject:
    told = parse_object(body, max_bytes=MAX_BODY_BYTES).body
    for name in told:
        if name not in fields:
            raise Rejection(RejectionReason.SHAPE, name[:64], f"only {', '.join(sorted(fields))}")
    return told


def _note(told: JsonObject) -> str | None:
    note = told.get("note")
    if note is None:
        return None
    if not isinstance(note, str):
        raise Rejection(RejectionReason.TYPE, "note", "a text")
    if len(note) > MAX_NOTE_LENGTH:
        raise Rejection(RejectionReason.LENGTH, "note", f"at most {MAX_NOTE_LENGTH} characters")
    return note


def _update_id(event_id: str, said: Said) -> str:
    whose, key = said.bound_to(event_id)
    if key is None:
        return uuid.uuid4().hex
    parts = [event_id, said.kind.value, whose, key]
    if said.only_first:  # the first word may fail, and another be the first
        parts.append(said.fingerprint(event_id).hex())
    return hashlib.sha256("\x1f".join(parts).encode()).hexdigest()[:32]
