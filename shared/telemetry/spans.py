"""Spans of one service, made as shared.telemetry.tracing says and sent by OTLP over HTTP, in batches, from a thread.

Which traces are kept is OTEL_TRACES_SAMPLER's to say (all, by default). Where a trace came with a record or a request,
its own flag decides, so that no trace has holes. A collector that is away costs traces, nothing else.

Names and attributes follow OpenTelemetry's semantic conventions for messaging.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.trace import Span, SpanKind, StatusCode

from shared.contracts.headers import header, traceparent_of, with_traceparent
from shared.contracts.log import KafkaRecord
from shared.telemetry.trace_context import NO_PARENT, context_of, traceparent_naming
from shared.telemetry.tracing import Processing, Root, Sender
from shared.telemetry.web_spans import TracedApp

if TYPE_CHECKING:
    from shared.kafka.producer import OutgoingRecord


def exporting(service: str) -> SpanTracing:
    """To the collector that the environment names. What is left is sent when the process ends."""
    return SpanTracing(service, BatchSpanProcessor(OTLPSpanExporter()))


class SpanTracing:
    """shared.telemetry.tracing.Tracing, on."""

    on = True

    def __init__(self, service: str, processor: SpanProcessor) -> None:
        """`service`: of whom the spans are, unless OTEL_SERVICE_NAME says otherwise."""
        self._group = f"flit-{service}"
        self._ids = _Ids()
        resource = Resource.create({SERVICE_NAME: os.environ.get("OTEL_SERVICE_NAME") or self._group})
        provider = TracerProvider(resource=resource, id_generator=self._ids)
        provider.add_span_processor(processor)
        self._tracer = provider.get_tracer("flit-risk")

    @contextmanager
    def processing(self, records: Sequence[KafkaRecord]) -> Iterator[Processing]:
        started_ns = time.time_ns()
        spans = [self._process(record, started_ns) for record in records]
        done = False
        try:
            yield _Continued(
                {_place(record): traceparent_naming(span) for record, span in zip(records, spans, strict=True)}
            )
            done = True
        finally:
            _end(spans, done)

    def processed(self, records: Sequence[KafkaRecord], started_ns: int) -> None:
        _end([self._process(record, started_ns) for record in records], True)

    def root(self, name: str, event_id: str, started_ns: int, attributes: Mapping[str, str]) -> Root:
        self._ids.next_trace = int(event_id, 16)
        return _Root(self.begin(name, SpanKind.CONSUMER, None, attributes, started_ns))

    def sender(self, sender: Sender) -> Sender:
        return _TracedSender(self, sender)

    def app(self, app: Any) -> Any:
        return TracedApp(app, self.begin)

    def begin(
        self,
        name: str,
        kind: SpanKind,
        parent: str | None,
        attributes: Mapping[str, str | int],
        started_ns: int | None = None,
    ) -> Span:
        """`parent`: a traceparent. Without one a trace begins, if the sampler wants it."""
        context = NO_PARENT if parent is None else context_of(parent)
        return self._tracer.start_span(name, context, kind, attributes, start_time=started_ns)

    def _process(self, record: KafkaRecord, started_ns: int) -> Span:
        attributes: dict[str, str | int] = {
            "messaging.system": "kafka",
            "messaging.operation.type": "process",
            "messaging.operation.name": "process",
            "messaging.destination.name": record.topic,
            "messaging.destination.partition.id": str(record.partition),
            "messaging.kafka.offset": record.offset,
            "messaging.consumer.group.name": self._group,
        }
        parent = traceparent_of(record.headers)
        return self.begin(f"process {record.topic}", SpanKind.CONSUMER, parent, attributes, started_ns)


class _Continued:
    def __init__(self, traces: Mapping[tuple[str, int, int], str]) -> None:
        self._traces = traces

    def traceparent(self, record: KafkaRecord) -> str | None:
        return self._traces[_place(record)]


@dataclass(frozen=True, slots=True)
class _Root:
    span: Span

    @property
    def traceparent(self) -> str:
        return traceparent_naming(self.span)

    def end(self) -> None:
        self.span.end()


class _TracedSender:
    """Gives each record that belongs to a trace a span of its own, until its topic has it."""

    def __init__(self, tracing: SpanTracing, sender: Sender) -> None:
        self._tracing = tracing
        self._sender = sender

    async def send_all(self, records: Sequence[OutgoingRecord], *, deadline_s: float | None = None) -> list[Any]:
        spans: list[Span] = []
        outgoing: list[OutgoingRecord] = []
        for record in records:
            parent = traceparent_of(record.headers)
            if parent is not None:
                span = self._tracing.begin(f"send {record.topic}", SpanKind.PRODUCER, parent, _of_send(record))
                spans.append(span)
                record = replace(record, headers=with_traceparent(record.headers, traceparent_naming(span)))
            outgoing.append(record)
        done = False
        try:
            places = await self._sender.send_all(outgoing, deadline_s=deadline_s)
            done = True
        finally:
            _end(spans, done)
        return places


def _of_send(record: OutgoingRecord) -> dict[str, str | int]:
    return {
        "messaging.system": "kafka",
        "messaging.operation.type": "send",
        "messaging.operation.name": "send",
        "messaging.destination.name": record.topic,
        "messaging.message.id": header(record.headers, "ce_id") or "",
    }


class _Ids(RandomIdGenerator):
    """Random ids, unless the next trace's is given."""

    next_trace: int | None = None

    def generate_trace_id(self) -> int:
        wanted, self.next_trace = self.next_trace, None
        return super().generate_trace_id() if wanted is None else wanted


def _place(record: KafkaRecord) -> tuple[str, int, int]:
    return record.topic, record.partition, record.offset


def _end(spans: Sequence[Span], done: bool) -> None:
    for span in spans:
        if not done:
            span.set_status(StatusCode.ERROR)  # without the error's text, which may quote what was refused
        span.end()
