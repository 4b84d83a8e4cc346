"""What has to hold of every payload: one clear verdict, the same at both doors, and nothing else raised, ever."""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import date

import msgspec
import orjson

from services.features.pipeline import LogRecord, customers_of, decode, process
from services.ingestor.lines import Line
from services.ingestor.pipeline import Accepted, Reading, letter_of, read_line
from services.ingestor.simtom import Run
from shared.contracts import records
from shared.contracts.events import encode
from shared.contracts.identity import partition_of
from shared.contracts.rejections import InputWarning, Rejection, RejectionReason
from shared.contracts.topics import TRANSACTIONS
from shared.contracts.transactions import AcceptedTransaction, Door, Limits, decode_transaction
from shared.feature_definitions import CustomerState
from tests.factories import DAY_US, START_US

NOW_US = START_US + 3_600_000_000
"""The clock that the future is measured against."""

READ_AT = "2026-06-01T01:06:06.000000Z"
PARTITIONS = 4
FIRST_DOOR, *_ = Door
LIMITS = Limits()
STATUSES = frozenset({400, 413, 422})
READING = Reading(Run("bnpl", "fuzz"), "source", LIMITS, date(2026, 6, 1), NOW_US + 400 * DAY_US)


class Violation(AssertionError):
    """A payload for which something that has to hold doesn't."""


def check(raw: bytes) -> str:
    """The verdict on a purchase: `accepted`, or the reason. Raises Violation; any other error is one as well."""
    verdict = _purchase(raw)
    for decoder in (
        records.decode_outcome,
        records.decode_feature_vector,
        records.decode_decision,
        records.decode_decision_update,
    ):
        _one(raw, decoder)
    _line(raw)
    return verdict


def _one(raw: bytes, decoder: Callable[[bytes], object]) -> object | None:
    try:
        return decoder(raw)
    except Rejection as rejection:
        _sound(rejection)
        return None


def _sound(rejection: Rejection) -> str:
    if rejection.reason not in RejectionReason or rejection.status not in STATUSES or not rejection.expected:
        raise Violation(f"a refusal that says too little: {rejection!r}")
    return rejection.reason.value


def _purchase(raw: bytes) -> str:
    verdicts: list[str | AcceptedTransaction] = []
    for door in Door:
        try:
            verdicts.append(decode_transaction(raw, door=door, received_us=NOW_US, limits=LIMITS))
        except Rejection as rejection:
            verdicts.append(_sound(rejection))
    first, second = verdicts
    if isinstance(first, str) or isinstance(second, str):
        if first != second:
            raise Violation(f"one door says {first}, the other {second}")
        return str(first)
    if _apart_from_the_door(first) != _apart_from_the_door(second):
        raise Violation("the doors read another purchase each")
    _faithful(first)
    _featured(raw, first)
    return "accepted"


def _apart_from_the_door(accepted: AcceptedTransaction) -> object:
    """A purchase that names no source gets the door's, and an event id that is made with it."""
    source, event_id = (accepted.document.get(name) for name in ("source", "event_id"))
    unnamed = {"source": "", "event_id": event_id or ""} if source is None else {}
    fingerprint = None if source is None and event_id is None else accepted.fingerprint
    return msgspec.structs.replace(accepted.transaction, **unnamed), accepted.amount_minor, fingerprint


def _faithful(accepted: AcceptedTransaction) -> None:
    """Written and read again it is the same purchase."""
    if not set(accepted.warnings) <= set(InputWarning):
        raise Violation(f"warnings {accepted.warnings}")
    again = decode_transaction(encode(accepted.transaction), door=Door.TOPIC, received_us=NOW_US, limits=LIMITS)
    same = (again.transaction, again.amount_minor, again.occurred_us)
    if same != (accepted.transaction, accepted.amount_minor, accepted.occurred_us):
        raise Violation(f"written and read again it is {again.transaction}, not {accepted.transaction}")
    reordered = orjson.dumps(dict(reversed(accepted.document.items())))
    if (
        decode_transaction(reordered, door=FIRST_DOOR, received_us=NOW_US, limits=LIMITS).fingerprint
        != accepted.fingerprint
    ):
        raise Violation("the order of the keys changes the fingerprint")


def _featured(raw: bytes, accepted: AcceptedTransaction) -> None:
    """It has a vector, of finite numbers, that the next service can read."""
    key = accepted.transaction.customer_id.encode()
    record = LogRecord(TRANSACTIONS.name, partition_of(key, PARTITIONS), 0, NOW_US // 1000, key, raw, [])
    decoded = decode(record, partitions=PARTITIONS, limits=LIMITS)
    states = {name: CustomerState() for name in customers_of([decoded])}
    result = process([record], [decoded], states, outcomes_seen=-1, computed_at=READ_AT, limits=LIMITS)
    ((vector, _),) = result.vectors
    wrong = {name: value for name, value in vector.features.items() if value is not None and not math.isfinite(value)}
    if wrong:
        raise Violation(f"features {wrong}")
    if records.decode_feature_vector(encode(vector))[0] != vector:
        raise Violation("the vector is read otherwise than it was written")
    state = next(iter(states.values()))
    if CustomerState.decode(state.encode()).encode() != state.encode():
        raise Violation("the state is read otherwise than it was written")


def _line(raw: bytes) -> None:
    """The same bytes as a line of the source."""
    for text in (raw, b"data: " + raw):
        read = read_line(Line(1, text), READING)
        if isinstance(read, Accepted):
            for record in read.records:
                if record.topic == TRANSACTIONS.name:
                    decode_transaction(record.value, door=Door.TOPIC, received_us=READING.received_us, limits=LIMITS)
        else:
            _sound(read.rejection)
            msgspec.json.decode(letter_of(read, READING).value)
