"""One trace from the source's line, or the checkout's request, to the rows in the warehouse, at a real collector."""

from __future__ import annotations

import time
from collections.abc import Iterator

import httpx
import pytest

from tests.e2e.system import System, until
from tests.factories import SECOND_US, transaction
from tests.otlp_receiver import OtlpReceiver
from tests.traces.hops import FROM_A_LINE, FROM_THE_CHECKOUT, hops, row_of, whole
from tests.traces.tree import tree

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

SERVER, PRODUCER, CONSUMER = 2, 4, 5
SERVICES = ("simulator", "features", "scorer", "sink", "ingestor")


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


async def test_one_trace_leads_from_the_source_s_line_to_the_rows(system: System, receiver: OtlpReceiver) -> None:
    async def there() -> bool:
        return bool(whole(receiver, FROM_A_LINE))

    await until(there, "a trace with every hop")
    trace_id = whole(receiver, FROM_A_LINE)[0]
    spans = receiver.trace(trace_id)
    assert hops(spans) == FROM_A_LINE
    print(tree(spans, {}))
    by_id = {span.span_id: span for span in spans}
    for span in spans:
        assert span.ended_ns > span.started_ns and not span.failed
        if span.parent_id:
            # A record may be read before its sender has heard that it is there, not before it was sent.
            assert span.started_ns >= by_id[span.parent_id].started_ns
    sent = next(span for span in spans if span.name == "send risk-decisions")
    assert sent.kind == PRODUCER and sent.attributes["messaging.message.id"] == trace_id, "found by the event's id"
    row, event_id = row_of(spans, system.stack.bigquery.settings)
    assert event_id == trace_id, "the row in the warehouse, in the place that the span names"
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
        return hops(receiver.trace(trace_id)).keys() >= FROM_THE_CHECKOUT.keys()

    await until(written, "every hop up to the row")
    spans = receiver.trace(trace_id)
    first = spans[0]
    assert (first.name, first.kind, first.parent_id) == ("POST /v1/decisions", SERVER, caller)
    assert first.attributes == {
        "http.request.method": "POST", "http.route": "/v1/decisions", "http.response.status_code": "200",
        "url.scheme": "http",
    }  # fmt: skip
    assert hops(spans) == FROM_THE_CHECKOUT | {("flit-scorer", "POST /v1/decisions"): ("unknown", caller)}
    assert row_of(spans, system.stack.bigquery.settings)[1] == body["event_id"]


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
