"""Kafka headers: CloudEvents 1.0 in binary mode, the schema version, the W3C trace context, and our own marks."""

from __future__ import annotations

import re
from collections.abc import Iterable

from shared.contracts.rejections import MALFORMED, Rejection, RejectionReason
from shared.contracts.versions import SCHEMA_VERSION

Headers = list[tuple[str, bytes]]
"""As we write them. In a record of others a value may also be null: as good as absent."""

SCHEMA_VERSION_HEADER = "schema_version"
TRACEPARENT_HEADER = "traceparent"
TRACEPARENT = re.compile(r"00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")
"""W3C Trace Context, version 00. Anything else is no trace, and may be of any size."""

REROUTED_HEADER = "rerouted"
"""On a record that was sent again to the partition that its key belongs to."""

REPLAYED_FROM_HEADER = "replayed_from"
"""On a record that was refused, and sent again out of its dead letter: where it lay before."""

MISFRAMED_HEADER = "misframed"
"""On a record whose own bytes contradict each other: put there by whoever reads it (shared.kafka.reading)."""

EXPOSURE_HEADER = "ce_exposure"
"""On a decision, an extension attribute of CloudEvents: "<cents> <day> <days between instalments> <instalments>", what
the purchase adds to its customer's exposure if it is let through (shared.exposure)."""

RECORDED_TIME_HEADER = "ce_recordedtime"
"""On a vector, CloudEvents' extension of that name: the timestamp of the purchase's own record, canonical."""

CONTENT_TYPE = ("content-type", b"application/json")
_TYPE_PREFIX = "com.flit.risk."


def cloud_event(*, event_id: str, kind: str, source: str, time: str, traceparent: str | None = None) -> Headers:
    """Headers of one event. `kind`: its name, such as `feature-vector`; `time`: canonical."""
    headers: Headers = [
        ("ce_id", event_id.encode()),
        ("ce_type", (_TYPE_PREFIX + kind).encode()),
        ("ce_source", source.encode()),
        ("ce_specversion", b"1.0"),
        ("ce_time", time.encode()),
        CONTENT_TYPE,
        (SCHEMA_VERSION_HEADER, str(SCHEMA_VERSION).encode()),
    ]
    if traceparent is not None:
        headers.append((TRACEPARENT_HEADER, traceparent.encode()))
    return headers


def header(headers: Iterable[tuple[str, bytes]] | None, name: str) -> str | None:
    """The last value of a header as text (unreadable bytes replaced), or None.

    Kafka allows a header without a value, and the client gives None for it, whatever the types say: as good as absent.
    """
    found: str | None = None
    for key, value in headers or ():
        if key == name:
            found = None if value is None else value.decode("utf-8", "replace")
    return found


def traceparent_of(headers: Iterable[tuple[str, bytes]] | None) -> str | None:
    """The trace that a record belongs to, or None."""
    trace = header(headers, TRACEPARENT_HEADER)
    return trace if trace is not None and TRACEPARENT.fullmatch(trace) else None


def with_traceparent(headers: Headers, traceparent: str) -> Headers:
    """The same headers, of another span."""
    return [*(each for each in headers if each[0] != TRACEPARENT_HEADER), (TRACEPARENT_HEADER, traceparent.encode())]


def schema_version_of(headers: Iterable[tuple[str, bytes]] | None) -> str | None:
    """The version that a record's headers name, or None.

    Raises `Rejection` (syntax) for a record that couldn't be taken apart cleanly: its body is not to be trusted.
    """
    if header(headers, MISFRAMED_HEADER) is not None:
        raise Rejection(RejectionReason.SYNTAX, "", "a record as long as its fields", status=MALFORMED)
    return header(headers, SCHEMA_VERSION_HEADER)
