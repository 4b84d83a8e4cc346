"""Where traces begin: the source's line. The trace's id is the event's, so it can be found without a search."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

from services.ingestor.pipeline import Accepted, Refused
from shared.contracts.headers import with_traceparent
from shared.telemetry.tracing import Root, Tracing


@contextmanager
def receiving(
    results: Sequence[Accepted | Refused], tracing: Tracing, *, source: str, arrived_ns: int
) -> Iterator[Sequence[Accepted | Refused]]:
    """Around the delivery of what lines became, from their arrival on; gives the results with their records in traces.

    `arrived_ns`: since 1970, by this machine's clock. A refused line has no event, and so no trace.
    """
    if not tracing.on:
        yield results
        return
    roots: list[Root] = []
    traced: list[Accepted | Refused] = []
    for result in results:
        if isinstance(result, Accepted):
            attributes = {"messaging.operation.type": "receive", "messaging.destination.name": source}
            root = tracing.root("receive line", result.event_id, arrived_ns, attributes)
            roots.append(root)
            result = replace(
                result,
                records=tuple(
                    replace(record, headers=with_traceparent(record.headers, root.traceparent))
                    for record in result.records
                ),
            )
        traced.append(result)
    try:
        yield traced
    finally:
        for root in roots:
            root.end()
