"""Traces of single events through the services, as OpenTelemetry has them. Off where no address to send them to is set.

Off, whatever trace a record or request belongs to is handed on as it came, and OpenTelemetry isn't imported.
On, each service adds its spans: one for what it does with a record or request, one for each record that it sends
because of it, whose `traceparent` names that span. So the trace of an event leads from the source's line, or the
checkout's request, to the row in the warehouse.

No attribute holds anything of a body: names of topics, places on them, ids of events, routes and statuses.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import urlsplit

from shared.contracts.headers import traceparent_of
from shared.contracts.log import KafkaRecord
from shared.settings import EXIT_BAD_SETTING

if TYPE_CHECKING:
    from shared.kafka.producer import OutgoingRecord

ENDPOINT_VARIABLES = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
"""OpenTelemetry's own, the first for traces alone. Its other variables hold as well, OTEL_TRACES_SAMPLER above all."""


class Sender(Protocol):
    """shared.kafka.producer.ReliableProducer."""

    async def send_all(self, records: Sequence[OutgoingRecord], *, deadline_s: float | None = None) -> list[Any]: ...


class Processing(Protocol):
    """The work on some records."""

    def traceparent(self, record: KafkaRecord) -> str | None:
        """The trace that goes on with what follows from the record; None where it belongs to none."""
        ...


class Root(Protocol):
    """The first span of a trace."""

    @property
    def traceparent(self) -> str: ...
    def end(self) -> None: ...


class Tracing(Protocol):
    """What a service's parts are given: `OFF`, or what makes spans."""

    @property
    def on(self) -> bool: ...

    def processing(self, records: Sequence[KafkaRecord]) -> AbstractContextManager[Processing]:
        """Around the work on the records, until what follows from them is durable."""
        ...

    def processed(self, records: Sequence[KafkaRecord], started_ns: int) -> None:
        """The same, told afterwards, where nothing is sent because of them. `started_ns`: since 1970."""
        ...

    def root(self, name: str, event_id: str, started_ns: int, attributes: Mapping[str, str]) -> Root:
        """Begin the trace of an event of 32 hex digits: they are the trace's id. Only where `on`."""
        ...

    def sender(self, sender: Sender) -> Sender:
        """What sends in the sender's place."""
        ...

    def app(self, app: Any) -> Any:
        """What answers in the ASGI application's place."""
        ...


class _HandedOn:
    def traceparent(self, record: KafkaRecord) -> str | None:
        return traceparent_of(record.headers)


HANDED_ON: Processing = _HandedOn()


class _Off:
    on = False

    def processing(self, records: Sequence[KafkaRecord]) -> AbstractContextManager[Processing]:
        return nullcontext(HANDED_ON)

    def processed(self, records: Sequence[KafkaRecord], started_ns: int) -> None:
        """Nothing to tell."""

    def root(self, name: str, event_id: str, started_ns: int, attributes: Mapping[str, str]) -> Root:
        raise NotImplementedError("tracing is off")

    def sender(self, sender: Sender) -> Sender:
        return sender

    def app(self, app: Any) -> Any:
        return app


OFF: Tracing = _Off()


def tracing_of(service: str, environment: Mapping[str, str] = os.environ) -> Tracing:
    """As the environment says. Raises SystemExit, with a line that names the variable, for an address that is none."""
    name = next((name for name in ENDPOINT_VARIABLES if environment.get(name)), None)
    if name is None or environment.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return OFF
    address = urlsplit(environment[name])
    if address.scheme not in ("http", "https") or not address.hostname:
        wanted = "the address of a collector that takes OTLP over HTTP, http(s)://host:port"
        print(f"bad setting {name}: {wanted}", file=sys.stderr)  # noqa: T201
        raise SystemExit(EXIT_BAD_SETTING)
    from shared.telemetry.spans import exporting  # libraries that most processes never need

    return exporting(service)
