"""The decoders of the events that stand on the topics behind the first one: outcomes, vectors, decisions, updates."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from shared.contracts import versions
from shared.contracts.events import Decision, DecisionUpdate, FeatureVector, Outcome, encode
from shared.contracts.identity import epoch_micros
from shared.contracts.rejections import InputWarning, Rejection, RejectionReason
from shared.contracts.transactions import check_id, check_not_far_ahead, check_not_long_ago, convert, normalise_time
from shared.contracts.versions import Versions
from shared.contracts.wire import MAX_EXACT_INTEGER, MAX_TEXT_LENGTH, UNREADABLE, parse_object

MAX_RECORD_BYTES = 1_048_576
"""Kafka's own default for the largest record: a vector or decision is some kilobytes."""

MAX_DAYS_TO_MISSED_PAYMENT = 1830
"""Sixty monthly instalments."""


MOST_FEATURES = 100
"""Beside them a record has some sixty keys, of the two hundred that it may have."""

_VECTOR = msgspec.json.Decoder(FeatureVector)
_INTEGERS = (("installments", "count"), ("customer", "tenure_days"), ("checkout", "cart_abandonment_count"))
"""Of a transaction's blocks."""

_OUTCOME_FIELDS = frozenset(field.name for field in msgspec.structs.fields(Outcome)) | {versions.BODY_FIELD}


@dataclass(frozen=True, slots=True)
class AcceptedOutcome:
    """An outcome within all rules."""

    outcome: Outcome
    observed_us: int
    """When the lender can know it, microseconds since 1970."""
    warnings: tuple[InputWarning, ...]


def decode_outcome(
    raw: bytes | None,
    *,
    received_us: int | None = None,
    schema_version: str | None = None,
    known_versions: Versions = versions.OUTCOME,
) -> AcceptedOutcome:
    """Decode one outcome. `received_us`: when its record was stamped, microseconds since 1970; None: `observed_at` is
    held against no clock. `schema_version`: of the header; where there is none, the body's own field counts.

    Raises `Rejection`.
    """
    if schema_version is not None:
        known_versions.check(schema_version)
    document = parse_object(raw, max_bytes=MAX_RECORD_BYTES)
    warnings = list(document.warnings)
    version = known_versions.check(document.body.get(versions.BODY_FIELD) if schema_version is None else schema_version)
    if version < known_versions.current:
        warnings.append(InputWarning.OLD_VERSION)
    body = dict(known_versions.upcast(document.body, version))
    if body.keys() - _OUTCOME_FIELDS:
        warnings.append(InputWarning.EXTRA_FIELD)
    for name in ("event_id", "customer_id", "observed_at", "defaulted"):
        value = body.get(name)
        if value is None or (isinstance(value, str) and not value.strip()):
            raise Rejection(RejectionReason.MISSING, name, "a value that is neither null nor blank")
    check_id(body["event_id"], "event_id")
    check_id(body["customer_id"], "customer_id")
    observed_us = normalise_time(body, "observed_at")
    if received_us is not None:
        check_not_long_ago("observed_at", observed_us - received_us)
        check_not_far_ahead("observed_at", observed_us - received_us)
    body.setdefault("days_to_first_missed_payment", None)
    days = body["days_to_first_missed_payment"]
    if isinstance(days, int) and not isinstance(days, bool) and not 0 <= days <= MAX_DAYS_TO_MISSED_PAYMENT:
        raise Rejection(RejectionReason.RANGE, "days_to_first_missed_payment", f"0 to {MAX_DAYS_TO_MISSED_PAYMENT}")
    return AcceptedOutcome(convert(body, Outcome), observed_us, tuple(warnings))


def decode_feature_vector(
    raw: bytes | None, *, schema_version: str | None = None, known_versions: Versions = versions.FEATURE_VECTOR
) -> tuple[FeatureVector, int]:
    """The vector, and its `occurred_at` in microseconds since 1970. Raises `Rejection`."""
    version = known_versions.check(schema_version)
    vector = _as_written_here(raw) if version == known_versions.current else None
    if vector is None:
        body = known_versions.upcast(parse_object(raw, max_bytes=MAX_RECORD_BYTES).body, version)
        vector = convert(body, FeatureVector)
    try:
        return vector, epoch_micros(vector.occurred_at)
    except (ValueError, TypeError):
        raise Rejection(RejectionReason.DATE, "occurred_at", "an ISO 8601 time with its zone") from None


def _as_written_here(raw: bytes | None) -> FeatureVector | None:
    """The vector, where the record is the one that our own encoder makes of it, byte for byte; None where it isn't, or
    is larger than a vector of ours ever was: then the strict parser has to look.

    Most vectors are ours, and going through them value by value would be a third of what a decision costs. What our
    encoder writes holds no key twice, nothing unknown, no other spelling of a number or a text, nothing that is not
    finite, and nests no deeper than the type. What is left of the parser's rules are its limits.
    """
    try:
        vector = _VECTOR.decode(raw or b"")
        if raw is None or encode(vector) != raw:
            return None
    except UNREADABLE:
        return None
    names, as_of, transaction = vector.features, vector.as_of, vector.transaction
    if len(names) > MOST_FEATURES or max(map(len, names), default=0) > MAX_TEXT_LENGTH:
        return None
    if len(raw) - sum(map(len, names)) > MAX_TEXT_LENGTH:  # else no text can be longer than what the names leave
        return None
    integers = [getattr(getattr(transaction, block), name, None) or 0 for block, name in _INTEGERS]
    exact = max(map(abs, [as_of.transactions, as_of.outcomes, *integers])) <= MAX_EXACT_INTEGER
    return vector if exact else None


def decode_decision(raw: bytes | None) -> Decision:
    """Raises `Rejection`."""
    return convert(parse_object(raw, max_bytes=MAX_RECORD_BYTES).body, Decision)


def decode_decision_update(raw: bytes | None) -> DecisionUpdate:
    """Raises `Rejection`."""
    return convert(parse_object(raw, max_bytes=MAX_RECORD_BYTES).body, DecisionUpdate)
