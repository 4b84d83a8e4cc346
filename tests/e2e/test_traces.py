"""One trace from the source's line, or the checkout's request, to the rows in the warehouse, at a real collector."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence

import httpx
import pytest

from tests.e2e.system import System, until
from tests.factories import SECOND_US, transaction
from tests.otlp_receiver import OtlpReceiver, ReceivedSpan

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

SERVER, PRODUCER, CONSUMER = 2, 4, 5
SERVICES = ("simulator", "features", "scorer", "sink", "ingestor")
FROM_A_LINE = {
    ("flit-ingestor", "receive line"): None,
    ("flit-ingestor", "send bnpl-transactions"): ("flit-ingestor", "receive line"),
    ("flit-ingestor", "send bnpl-outcomes"): ("flit-ingestor", "receive line"),
    ("flit-features", "process bnpl-transactions"): ("flit-ingestor", "send bnpl-transactions"),
    ("flit-features", "process bnpl-outcomes"): ("flit-ingestor", "send bnpl-outcomes"),
    ("flit-features", "send bnpl-features"): ("flit-features", "process bnpl-transactions"),
    ("flit-scorer", "process bnpl-features"): ("flit-features", "send bnpl-features"),
    ("flit-scorer", "send risk-decisions"): ("flit-scorer", "process bnpl-features"),
    ("flit-sink", "process bnpl-transactions"): ("flit-ingestor", "send bnpl-transactions"),
    ("flit-sink", "process bnpl-outcomes"): ("flit-ingestor", "send bnpl-outcomes"),
    ("flit-sink", "process bnpl-features"): ("flit-features", "send bnpl-features"),
    ("flit-sink", "process risk-decisions"): ("flit-scorer", "send risk-decisions"),
}
"""Each hop, and the one that it follows from."""


@pytest.fixture(scope="module")
def receiver() -> Iterator[OtlpReceiver]:
    with OtlpReceiver() as running:
        yield running


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory, receiver: OtlpReceiver) -> Iterator[System]:
    settings = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.address,
        "OTEL_BSP_SCHEDULE_DELAY": "200",
        "INGESTOR__RATE": "20",
        "INGESTOR__MAX_EVENTS": "100",
        "LOG__LEVEL": "INFO",
    }
    with System(tmp_path_factory.mktemp("traces"), SERVICES, settings) as running:
        yield running


def hops(spans: Sequence[ReceivedSpan]) -> dict[tuple[str, str], tuple[str, str] | None]:
    """Each span's service and name → those of its parent; a parent that nobody made shows as unknown."""
    by_id = {span.span_id: (span.service, span.name) for span in spans}
    return {
        (span.service, span.name): None
        if not span.parent_id
        else by_id.get(span.parent_id, ("unknown", span.parent_id))
        for span in spans
    }


def whole(receiver: OtlpReceiver) -> list[str]:
    """Traces that have each hop of an event with an outcome."""
    found: dict[str, set[tuple[str, str]]] = {}
    for span in receiver.spans:
        found.setdefault(span.trace_id, set()).add((span.service, span.name))
    return [trace_id for trace_id, names in found.items() if names >= FROM_A_LINE.keys()]


async def test_one_trace_leads_from_the_source_s_line_to_the_rows(system: System, receiver: OtlpReceiver) -> None:
    async def there() -> bool:
        return bool(whole(receiver))

    await until(there, "a trace with every hop")
    trace_id = whole(receiver)[0]
    spans = receiver.trace(trace_id)
    assert hops(spans) == FROM_A_LINE
    print(*(f"{span.service:14} {span.name:28} {span.milliseconds:8.1f} ms" for span in spans), sep="\n")
    by_id = {span.span_id: span for span in spans}
    for span in spans:
        assert span.ended_ns > span.started_ns and not span.failed
        if span.parent_id:
            # A record may be read before its sender has heard that it is there, not before it was sent.
            assert span.started_ns >= by_id[span.parent_id].started_ns
    sent = next(span for span in spans if span.name == "send risk-decisions")
    assert sent.kind == PRODUCER and sent.attributes["messaging.message.id"] == trace_id, "found by the event's id"
    row = next(span for span in spans if (span.service, span.name) == ("flit-sink", "process risk-decisions"))
    assert row.kind == CONSUMER
    assert row.attributes["messaging.destination.name"] == "risk-decisions"
    assert row.attributes["messaging.consumer.group.name"] == "flit-sink"


async def test_a_request_s_own_trace_goes_on_to_the_row(system: System, receiver: OtlpReceiver) -> None:
    trace_id, caller = "5bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
    headers = {"traceparent": f"00-{trace_id}-{caller}-01"}
    body = transaction(1, t_us=int(time.time() * SECOND_US), event_id="traced-1")
    async with httpx.AsyncClient(base_url=system.http, timeout=30, headers=headers) as client:
        assert (await client.post("/v1/decisions", json=body)).status_code == 200

    async def written() -> bool:
        return any(
            (span.service, span.name) == ("flit-sink", "process risk-decisions") for span in receiver.trace(trace_id)
        )

    await until(written, "the row's span")
    spans = receiver.trace(trace_id)
    first = spans[0]
    assert (first.name, first.kind, first.parent_id) == ("POST /v1/decisions", SERVER, caller)
    assert first.attributes == {
        "http.request.method": "POST", "http.route": "/v1/decisions", "http.response.status_code": "200",
        "url.scheme": "http",
    }  # fmt: skip
    found = hops(spans)
    for name in ("send bnpl-transactions", "send risk-decisions"):
        assert found["flit-scorer", name] == ("flit-scorer", "POST /v1/decisions")
    assert found["flit-sink", "process risk-decisions"] == ("flit-scorer", "send risk-decisions")


async def test_a_request_that_its_caller_does_not_sample_leaves_no_span(system: System, receiver: OtlpReceiver) -> None:
    headers = {"traceparent": "00-6bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00"}
    body = transaction(2, t_us=int(time.time() * SECOND_US), event_id="untraced-2")
    marker = "7bf92f3577b34da6a3ce929d0e0e4736"
    async with httpx.AsyncClient(base_url=system.http, timeout=30) as client:
        assert (await client.post("/v1/decisions", json=body, headers=headers)).status_code == 200
        after = {"traceparent": f"00-{marker}-00f067aa0ba902b7-01"}
        body = transaction(3, t_us=int(time.time() * SECOND_US), event_id="traced-3")
        assert (await client.post("/v1/decisions", json=body, headers=after)).status_code == 200

    async def later_one_is_there() -> bool:
        return any(span.service == "flit-sink" for span in receiver.trace(marker))

    await until(later_one_is_there, "the trace of a later request")
    assert receiver.trace("6bf92f3577b34da6a3ce929d0e0e4736") == []


async def test_a_problem_s_trace_is_in_the_log_and_not_in_its_body(system: System) -> None:
    trace_id = "8bf92f3577b34da6a3ce929d0e0e4736"
    headers = {"traceparent": f"00-{trace_id}-00f067aa0ba902b7-01"}
    async with httpx.AsyncClient(base_url=system.http, timeout=30, headers=headers) as client:
        answer = await client.post("/v1/decisions", json={"amount": 1})
    assert answer.status_code == 422
    assert trace_id not in answer.text and not any(trace_id in value for value in answer.headers.values())

    async def logged() -> bool:
        return any(trace_id in line and "problem_answered" in line for line in system.log_of("scorer").splitlines())

    await until(logged, "the line of the problem")
