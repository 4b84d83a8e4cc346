"""The decoders of the events that stand on the topics behind the first one: outcomes, vectors, decisions, updates."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from shared.contracts import versions
from shared.contracts.events import Decision, DecisionUpdate, FeatureVector, Outcome
from shared.contracts.identity import epoch_micros
from shared.contracts.rejections import InputWarning, Rejection, RejectionReason
from shared.contracts.transactions import check_id, convert, normalise_time
from shared.contracts.versions import Versions
from shared.contracts.wire import parse_object

MAX_RECORD_BYTES = 1_048_576
"""Kafka's own default for the largest record: a vector or decision is some kilobytes."""

MAX_DAYS_TO_MISSED_PAYMENT = 1830
"""Sixty monthly instalments."""


_OUTCOME_FIELDS = frozenset(field.name for field in msgspec.structs.fields(Outcome)) | {versions.BODY_FIELD}


@dataclass(frozen=True, slots=True)
class AcceptedOutcome:
    """An outcome within all rules."""

    outcome: Outcome
    observed_us: int
    """When the lender can know it, microseconds since 1970."""
    warnings: tuple[InputWarning, ...]


def decode_outcome(
    raw: bytes | None, *, schema_version: str | None = None, known_versions: Versions = versions.OUTCOME
) -> AcceptedOutcome:
    """Decode one outcome. `schema_version`: of the header; where there is none, the body's own field counts.

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
    body = known_versions.upcast(parse_object(raw, max_bytes=MAX_RECORD_BYTES).body, version)
    vector = convert(body, FeatureVector)
    try:
        return vector, epoch_micros(vector.occurred_at)
    except (ValueError, TypeError):
        raise Rejection(RejectionReason.DATE, "occurred_at", "an ISO 8601 time with its zone") from None


def decode_decision(raw: bytes | None) -> Decision:
    """Raises `Rejection`."""
    return convert(parse_object(raw, max_bytes=MAX_RECORD_BYTES).body, Decision)


def decode_decision_update(raw: bytes | None) -> DecisionUpdate:
    """Raises `Rejection`."""
    return convert(parse_object(raw, max_bytes=MAX_RECORD_BYTES).body, DecisionUpdate)
