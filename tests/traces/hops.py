"""The hops that an event has to take, and those that a trace shows."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from shared.settings import BigQuerySettings
from shared.warehouse import tables
from shared.warehouse.clients import bigquery_client
from tests.otlp_receiver import OtlpReceiver, ReceivedSpan

Hop = tuple[str, str]
"""Service and span."""

ROW: Hop = ("flit-sink", "process risk-decisions")
"""Ends once the warehouse has acknowledged the decision's row."""

_FROM_THE_TOPIC: dict[Hop, Hop | None] = {
    ("flit-features", "send bnpl-features"): ("flit-features", "process bnpl-transactions"),
    ("flit-scorer", "process bnpl-features"): ("flit-features", "send bnpl-features"),
    ("flit-sink", "process bnpl-features"): ("flit-features", "send bnpl-features"),
    ROW: ("flit-scorer", "send risk-decisions"),
}
FROM_A_LINE: dict[Hop, Hop | None] = {
    ("flit-ingestor", "receive line"): None,
    ("flit-ingestor", "send bnpl-transactions"): ("flit-ingestor", "receive line"),
    ("flit-ingestor", "send bnpl-outcomes"): ("flit-ingestor", "receive line"),
    ("flit-features", "process bnpl-transactions"): ("flit-ingestor", "send bnpl-transactions"),
    ("flit-features", "process bnpl-outcomes"): ("flit-ingestor", "send bnpl-outcomes"),
    ("flit-scorer", "send risk-decisions"): ("flit-scorer", "process bnpl-features"),
    ("flit-sink", "process bnpl-transactions"): ("flit-ingestor", "send bnpl-transactions"),
    ("flit-sink", "process bnpl-outcomes"): ("flit-ingestor", "send bnpl-outcomes"),
    **_FROM_THE_TOPIC,
}
"""Each hop of a purchase that the source sent with its outcome, and the one that it follows from."""
FROM_THE_CHECKOUT: dict[Hop, Hop | None] = {
    ("flit-scorer", "send bnpl-transactions"): ("flit-scorer", "POST /v1/decisions"),
    ("flit-scorer", "send risk-decisions"): ("flit-scorer", "POST /v1/decisions"),
    ("flit-features", "process bnpl-transactions"): ("flit-scorer", "send bnpl-transactions"),
    ("flit-sink", "process bnpl-transactions"): ("flit-scorer", "send bnpl-transactions"),
    **_FROM_THE_TOPIC,
}
"""The same of one that was asked for over REST; the request itself follows from its caller."""


def hops(spans: Sequence[ReceivedSpan]) -> dict[Hop, Hop | None]:
    """Each span's service and name → those of its parent; a parent that nobody made shows as unknown."""
    by_id = {span.span_id: (span.service, span.name) for span in spans}
    return {
        (span.service, span.name): None
        if not span.parent_id
        else by_id.get(span.parent_id, ("unknown", span.parent_id))
        for span in spans
    }


def whole(receiver: OtlpReceiver, wanted: Collection[Hop]) -> list[str]:
    """Traces that have each of these hops, the one that began first before the others."""
    found: dict[str, set[Hop]] = {}
    for span in sorted(receiver.spans, key=lambda span: span.started_ns):
        found.setdefault(span.trace_id, set()).add((span.service, span.name))
    return [trace_id for trace_id, names in found.items() if names >= set(wanted)]


def row_of(spans: Sequence[ReceivedSpan], settings: BigQuerySettings) -> tuple[ReceivedSpan, str]:
    """The span that wrote the decision's row, and the event id that the warehouse has in this very place."""
    span = next(span for span in spans if (span.service, span.name) == ROW)
    client = bigquery_client(settings)
    partition, offset = (span.attributes[f"messaging.{name}"] for name in ("destination.partition.id", "kafka.offset"))
    (row,) = client.query(
        f"SELECT event_id FROM `{client.project}.{tables.DECISIONS.id}` "
        f"WHERE {tables.DECISIONS.partition_by} > '2000-01-01' "
        f"AND kafka_partition = {partition} AND kafka_offset = {offset}"
    ).result()
    return span, str(row["event_id"])
