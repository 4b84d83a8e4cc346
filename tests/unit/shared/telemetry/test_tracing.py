"""Spans in memory: whose they are, what they hold, and that nothing happens while tracing is off."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Sequence
from typing import Any

import httpx
import pytest
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from services.features.pipeline import LogRecord
from services.ingestor.pipeline import Accepted, read_line
from services.ingestor.tracing import receiving
from shared.contracts.headers import header, traceparent_of
from shared.kafka.producer import OutgoingRecord
from shared.settings import EXIT_BAD_SETTING
from shared.telemetry.spans import SpanTracing
from shared.telemetry.tracing import ENDPOINT_VARIABLES, OFF, tracing_of
from tests.unit.ingestor import recorded
from tests.unit.scorer.rest import JSON, URL, Asked, an_app

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
SAMPLED, UNSAMPLED = f"00-{TRACE}-{SPAN}-01", f"00-{TRACE}-{SPAN}-00"


@pytest.fixture
def finished(monkeypatch: pytest.MonkeyPatch) -> InMemorySpanExporter:
    for name in ("OTEL_TRACES_SAMPLER", "OTEL_TRACES_SAMPLER_ARG", "OTEL_SERVICE_NAME"):
        monkeypatch.delenv(name, raising=False)
    return InMemorySpanExporter()


@pytest.fixture
def tracing(finished: InMemorySpanExporter) -> SpanTracing:
    return SpanTracing("features", SimpleSpanProcessor(finished))


def record(offset: int, traceparent: str | None) -> LogRecord:
    headers = [] if traceparent is None else [("traceparent", traceparent.encode())]
    return LogRecord("bnpl-transactions", 3, offset, 0, b"k", b"{}", headers)


class Sent:
    """A sender that remembers, or fails."""

    def __init__(self, error: Exception | None = None) -> None:
        self.records: list[OutgoingRecord] = []
        self._error = error

    async def send_all(self, records: Sequence[OutgoingRecord], *, deadline_s: float | None = None) -> list[Any]:
        if self._error is not None:
            raise self._error
        self.records += records
        return [None for _ in records]


async def test_what_follows_from_a_record_is_sent_in_its_trace(
    tracing: SpanTracing, finished: InMemorySpanExporter
) -> None:
    sent = Sent()
    with tracing.processing([record(7, SAMPLED)]) as processing:
        onward = processing.traceparent(record(7, SAMPLED))
        assert onward is not None
        headers = [("ce_id", b"event-1"), ("traceparent", onward.encode())]
        await tracing.sender(sent).send_all([OutgoingRecord("bnpl-features", b"k", b"{}", headers)])
    sending, process = finished.get_finished_spans()
    assert (process.name, process.kind) == ("process bnpl-transactions", SpanKind.CONSUMER)
    assert process.parent is not None and f"{process.parent.span_id:016x}" == SPAN
    assert process.attributes == {
        "messaging.system": "kafka", "messaging.operation.type": "process", "messaging.operation.name": "process",
        "messaging.destination.name": "bnpl-transactions", "messaging.destination.partition.id": "3",
        "messaging.kafka.offset": 7, "messaging.consumer.group.name": "flit-features",
    }  # fmt: skip
    assert process.resource.attributes["service.name"] == "flit-features"
    assert (sending.name, sending.kind) == ("send bnpl-features", SpanKind.PRODUCER)
    assert sending.parent is not None and sending.parent.span_id == process.context.span_id
    assert sending.attributes is not None and sending.attributes["messaging.message.id"] == "event-1"
    named = header(sent.records[0].headers, "traceparent")
    assert named == f"00-{TRACE}-{sending.context.span_id:016x}-01"
    assert [name for name, _ in sent.records[0].headers] == ["ce_id", "traceparent"]


def test_a_record_that_nobody_sampled_has_no_span_and_its_trace_goes_on_unsampled(
    tracing: SpanTracing, finished: InMemorySpanExporter
) -> None:
    with tracing.processing([record(7, UNSAMPLED)]) as processing:
        onward = processing.traceparent(record(7, UNSAMPLED))
    assert onward is not None and onward.startswith(f"00-{TRACE}-") and onward.endswith("-00")
    assert finished.get_finished_spans() == ()


@pytest.mark.parametrize("given", [None, "junk", f"00-{'0' * 32}-{SPAN}-01"])
def test_a_record_without_a_trace_begins_one(
    tracing: SpanTracing, finished: InMemorySpanExporter, given: str | None
) -> None:
    tracing.processed([record(7, given)], time.time_ns())
    (process,) = finished.get_finished_spans()
    assert process.parent is None and process.context.trace_id not in (0, int(TRACE, 16))


def test_the_sampler_is_opentelemetry_s_own_variable(
    monkeypatch: pytest.MonkeyPatch, finished: InMemorySpanExporter
) -> None:
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "parentbased_always_off")
    tracing = SpanTracing("features", SimpleSpanProcessor(finished))
    tracing.processed([record(1, None), record(2, UNSAMPLED), record(3, SAMPLED)], time.time_ns())
    (only,) = finished.get_finished_spans()
    assert only.attributes is not None and only.attributes["messaging.kafka.offset"] == 3


async def test_a_failure_ends_the_spans_and_tells_nothing_of_its_text(
    tracing: SpanTracing, finished: InMemorySpanExporter
) -> None:
    with pytest.raises(ValueError, match="secret"), tracing.processing([record(7, SAMPLED)]):
        raise ValueError("secret")
    with pytest.raises(OSError, match="secret"):
        headers = [("traceparent", SAMPLED.encode())]
        await tracing.sender(Sent(OSError("secret"))).send_all([OutgoingRecord("t", b"k", b"v", headers)])
    spans = finished.get_finished_spans()
    assert [span.status.status_code for span in spans] == [StatusCode.ERROR] * 2
    assert all("secret" not in span.to_json() for span in spans)


async def test_a_line_begins_the_trace_of_its_event(tracing: SpanTracing, finished: InMemorySpanExporter) -> None:
    result = read_line(recorded.lines("live-1000")[0], recorded.reading())
    assert isinstance(result, Accepted)
    arrived_ns = time.time_ns() - 5_000_000
    with receiving([result], tracing, source="simtom", arrived_ns=arrived_ns) as traced:
        (accepted,) = traced
        assert isinstance(accepted, Accepted)
        traces = {traceparent_of(each.headers) for each in accepted.records}
    (root,) = finished.get_finished_spans()
    assert traces == {f"00-{result.event_id}-{root.context.span_id:016x}-03"}
    assert (root.name, root.parent, root.start_time) == ("receive line", None, arrived_ns)
    assert [each.value for each in accepted.records] == [each.value for each in result.records]


def test_the_next_trace_has_an_id_of_its_own(tracing: SpanTracing) -> None:
    first = tracing.root("receive line", TRACE, time.time_ns(), {})
    assert first.traceparent.startswith(f"00-{TRACE}-")
    tracing.processed([record(1, None)], time.time_ns())
    second = tracing.root("receive line", "5" * 32, time.time_ns(), {})
    assert second.traceparent.startswith(f"00-{'5' * 32}-")


@pytest.mark.parametrize(
    ("method", "path", "name", "status"),
    [("POST", URL, f"POST {URL}", 200), ("GET", f"{URL}/somebody", f"GET {URL}/{{event_id}}", 404),
     ("GET", "/nowhere/somebody", "GET", 404), ("MAKEUP", "/", "_OTHER", 404)],
)  # fmt: skip
async def test_a_request_s_span_has_its_route_and_nothing_else_of_its_address(
    tracing: SpanTracing, finished: InMemorySpanExporter, method: str, path: str, name: str, status: int
) -> None:
    use_case = Asked()
    transport = httpx.ASGITransport(app=tracing.app(an_app(use_case)), client=("127.0.0.1", 5))
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
        answer = await client.request(method, path, content=b"{}", headers=JSON | {"traceparent": SAMPLED})
    assert answer.status_code == status
    (span,) = finished.get_finished_spans()
    assert (span.name, span.kind) == (name, SpanKind.SERVER)
    assert span.parent is not None and f"{span.parent.span_id:016x}" == SPAN
    assert span.attributes is not None and span.attributes["http.response.status_code"] == status
    assert "somebody" not in span.to_json() and "MAKEUP" not in span.to_json()
    for question in use_case.questions:
        assert question.traceparent == f"00-{TRACE}-{span.context.span_id:016x}-01"


async def test_probes_have_no_span(tracing: SpanTracing, finished: InMemorySpanExporter) -> None:
    transport = httpx.ASGITransport(app=tracing.app(an_app(Asked())), client=("127.0.0.1", 5))
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
        assert (await client.get("/live")).status_code == 200
    assert finished.get_finished_spans() == ()


def test_off_hands_a_trace_on_and_puts_nothing_in_anybody_s_place() -> None:
    given = record(7, SAMPLED)
    with OFF.processing([given]) as processing:
        assert processing.traceparent(given) == SAMPLED
        assert processing.traceparent(record(8, "junk")) is None
    sender, app = Sent(), object()
    assert OFF.sender(sender) is sender
    assert OFF.app(app) is app


def test_off_imports_neither_spans_nor_exporter() -> None:
    code = (
        "import sys; import services.scorer.__main__, services.features.__main__, services.sink.__main__;"
        "from shared.telemetry.tracing import OFF, tracing_of; assert tracing_of('scorer', {}) is OFF;"
        "print([name for name in sys.modules if name.startswith(('opentelemetry.exporter', 'shared.telemetry.spans'))])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("name", ENDPOINT_VARIABLES)
@pytest.mark.parametrize("address", ["collector:4318", "grpc://collector:4317", "http://"])
def test_an_address_that_is_none_is_refused_by_its_name(
    name: str, address: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as refused:
        tracing_of("scorer", {name: address})
    assert refused.value.code == EXIT_BAD_SETTING
    assert capsys.readouterr().err.startswith(f"bad setting {name}: ")
    assert tracing_of("scorer", {name: address, "OTEL_SDK_DISABLED": "true"}) is OFF
