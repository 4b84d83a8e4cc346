"""Values that would give a person away are planted wherever somebody can put one; no log, metric or trace shows any."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from deploy.local.ports import free_port
from deploy.local.processes import ManagedProcess
from deploy.local.services import Service
from shared.contracts.topics import DEAD_LETTERS, DECISION_UPDATES, DECISIONS, FEATURES, OUTCOMES, TRANSACTIONS
from shared.kafka.producer import OutgoingRecord, ReliableProducer
from tests.e2e.system import Log, System, until
from tests.factories import DAY_US, SECOND_US, outcome, transaction
from tests.integration.ingestor.recorded_source import RecordedSource, Script
from tests.otlp_receiver import OtlpReceiver
from tests.unit.ingestor import recorded

SERVICES = ("features", "scorer", "sink")
ALL = (*SERVICES, "ingestor")
MARK = "canary"
"""In every planted text, in whatever case."""
AMOUNT = 731.93
"""A planted number: nothing else of these tests has these digits."""


@pytest.fixture(scope="module")
def receiver() -> Iterator[OtlpReceiver]:
    with OtlpReceiver() as running:
        yield running


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory, receiver: OtlpReceiver) -> Iterator[System]:
    # At the lowest level: what is written then is the most that can be written.
    settings = {
        "LOG__LEVEL": "DEBUG", "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.address, "OTEL_BSP_SCHEDULE_DELAY": "200",
    }  # fmt: skip
    with System(tmp_path_factory.mktemp("canaries"), SERVICES, settings) as running:
        yield running


def marked(number: int, **changes: Any) -> dict[str, Any]:
    """A valid purchase of now, every free text of it planted."""
    body = transaction(number, t_us=int(time.time() * SECOND_US), event_id=f"planted-{number}", amount=AMOUNT)
    body |= {
        "customer_id": f"{MARK}_person",
        "transaction_id": f"{MARK}_txn_{number}",
        f"{MARK}_field": f"{MARK}_value",
    }
    body["device"] |= {"id": f"{MARK}_device", "os": f"{MARK}_os"}
    body["payment"] |= {"method_id": f"{MARK}_method", "provider": f"{MARK}_provider"}
    body["product"] |= {"brand": f"{MARK}_brand"}
    return body | changes


def refused_on_topics() -> Iterator[OutgoingRecord]:
    """Records that have to end as dead letters, each for another reason."""
    key = f"{MARK}_person".encode()
    headers = [("traceparent", f"{MARK}".encode()), ("ce_id", f"{MARK}\n{MARK}".encode())]
    bodies: list[Any] = [
        marked(1, amount=f"{MARK}_amount"), marked(2, amount=-AMOUNT), marked(3, occurred_at=f"{MARK}_time"),
        marked(4, currency=MARK[:3].upper()), marked(5, customer={"state": {MARK: MARK}}), marked(6, device=MARK),
        marked(7, installments={"count": MARK}), [MARK], f"{MARK}\n{MARK}",
    ]  # fmt: skip
    for body in bodies:
        yield OutgoingRecord(TRANSACTIONS.name, key, json.dumps(body).encode(), headers)
    yield OutgoingRecord(TRANSACTIONS.name, key, f'{{"customer_id": "{MARK}'.encode(), headers)
    yield OutgoingRecord(TRANSACTIONS.name, f"{MARK}_other".encode(), json.dumps(marked(8)).encode(), headers)
    yield OutgoingRecord(TRANSACTIONS.name, None, json.dumps(marked(9)).encode(), headers)
    late = outcome(0, observed_us=int(time.time() * SECOND_US), customer_id=f"{MARK}_person")
    yield OutgoingRecord(OUTCOMES.name, key, json.dumps(late | {"defaulted": MARK}).encode(), headers)
    yield OutgoingRecord(FEATURES.name, key, json.dumps({"event_id": "e", "customer_id": MARK}).encode(), headers)
    yield OutgoingRecord(DECISION_UPDATES.name, key, json.dumps({"note": MARK}).encode(), headers)
    yield OutgoingRecord(DECISIONS.name, key, f"{{{MARK}".encode(), headers)


REFUSED = 14
"""Of them those that somebody writes a letter for: not the last two, which the sink only passes over."""


GOOD_LINES, BAD_LINES = 12, 3
"""Of the source. Of one that sends much that is refused the ingestor would let go."""


def lines() -> list[bytes]:
    """Events of a source, every free text of them planted; some are refused, each for another reason."""
    texts = ("customer_id", "product_id", "device_id", "payment_method_id", "product_brand", "device_os", "more")
    flat = [
        event
        | {name: f"{MARK}_{name}" for name in texts}
        | {"transaction_id": f"{MARK}_line_{number}", "amount": AMOUNT}
        for number, event in enumerate(recorded.flat_events("live-1000")[:GOOD_LINES])
    ]
    bad = [json.dumps(flat[0] | {"amount": MARK}), json.dumps([MARK]), f'{{"{MARK}": {AMOUNT}']
    return [f"data: {text}\n\n".encode() for text in (*map(json.dumps, flat), *bad)]


async def plant_in_the_source(system: System, log: Log) -> str:
    """Run an ingestor on such a source until it has done with it. Gives its metrics."""
    gate = asyncio.Event()
    async with RecordedSource([Script(lines(), gate=gate)]) as source:
        service = Service("ingestor", free_port(), ("live",), environment={"SIMTOM__URL": source.url})
        process = ManagedProcess(
            "ingestor", service.command, log_file=system.data_dir / "logs" / "ingestor.log",
            environment=service.full_environment(system.supervisor.environment), stop_timeout=30,
        )  # fmt: skip
        process.start()
        try:

            async def through() -> bool:
                good, refused = await log.count(TRANSACTIONS.name), await log.count(DEAD_LETTERS.name)
                return good >= GOOD_LINES and refused >= BAD_LINES

            await until(through, f"{GOOD_LINES} purchases and {BAD_LINES} letters of the source")
            return metrics_of(service.metrics_port)
        finally:
            gate.set()
            await asyncio.to_thread(process.stop)


def metrics_of(port: int) -> str:
    return httpx.get(f"http://127.0.0.1:{port}/metrics", timeout=10).text


async def ask_badly(http: str) -> None:
    """Every kind of request that is refused, and some that aren't."""
    headers = {"Authorization": f"Bearer {MARK}", "Idempotency-Key": f"{MARK}-key", "traceparent": MARK}
    async with httpx.AsyncClient(base_url=http, timeout=60, headers=headers) as client:
        assert (await client.post("/v1/decisions", json=marked(20))).status_code == 200
        assert (await client.post("/v1/decisions", json=marked(20, amount=AMOUNT + 1))).status_code == 422
        for body in (marked(21, amount=MARK), [MARK], marked(22, customer_id=[MARK]), marked(23, currency=MARK)):
            assert (await client.post("/v1/decisions", json=body)).status_code in (400, 422)
        assert (await client.post("/v1/decisions", content=f'{{"{MARK}')).status_code == 415
        broken = await client.post("/v1/decisions", content=f'{{"{MARK}', headers={"Content-Type": "application/json"})
        assert broken.status_code in (400, 422)
        assert (await client.post(f"/v1/decisions?{MARK}={MARK}", json=marked(24))).status_code in (200, 400, 422)
        assert (await client.get(f"/v1/decisions/{MARK}_event")).status_code == 404
        assert (await client.get(f"/{MARK}")).status_code == 404
        assert (await client.delete(f"/v1/decisions/{MARK}")).status_code in (404, 405)


@dataclass(frozen=True)
class Planted:
    system: System
    metrics: dict[str, str]
    """Of each service."""


async def plant(system: System) -> Planted:
    log = Log(system.kafka.bootstrap_servers)
    of_ingestor = await plant_in_the_source(system, log)
    producer = ReliableProducer(system.kafka)
    await producer.start()
    try:
        key = f"{MARK}_person".encode()
        now_us = int(time.time() * SECOND_US)
        good = [OutgoingRecord(TRANSACTIONS.name, key, json.dumps(marked(number)).encode()) for number in (10, 11)]
        known = outcome(10, observed_us=now_us - DAY_US, customer_id=f"{MARK}_person", event_id="planted-10")
        good.append(OutgoingRecord(OUTCOMES.name, key, json.dumps(known).encode()))
        await producer.send_all([*good, *refused_on_topics()])
    finally:
        await producer.stop()
    await ask_badly(system.http)
    system.stack.valkey.pause()  # what is said while Redis is away is said of something
    try:
        async with httpx.AsyncClient(base_url=system.http, timeout=60) as client:
            assert (await client.post("/v1/decisions", json=marked(30))).status_code == 200
    finally:
        system.stack.valkey.resume()

    async def through() -> bool:
        letters, decisions = await log.count(DEAD_LETTERS.name), await log.count(DECISIONS.name)
        return letters >= BAD_LINES + REFUSED and decisions >= GOOD_LINES + 1 + 4

    await until(through, f"{REFUSED} letters and 4 decisions beside those of the source")
    metrics = {service.name: metrics_of(service.metrics_port) for service in system.services}
    return Planted(system, {**metrics, "ingestor": of_ingestor})


@pytest.fixture(scope="module")
def planted(system: System) -> Planted:
    return asyncio.run(plant(system))


@pytest.mark.parametrize("name", ALL)
def test_no_log_shows_a_planted_value(planted: Planted, name: str) -> None:
    written = planted.system.log_of(name)
    assert any(word in written for word in ("started", "assigned", "stream_open")), "the log is the service's own"
    shown = [line for line in written.splitlines() if MARK in line.lower() or str(AMOUNT) in line]
    assert shown == []


@pytest.mark.parametrize("name", ALL)
def test_no_metric_shows_a_planted_value(planted: Planted, name: str) -> None:
    metrics = planted.metrics[name]
    assert "flit_events_total{" in metrics or name == "scorer"
    assert MARK not in metrics.lower()
    assert str(AMOUNT) not in metrics


TOLD = {
    ("flit-ingestor", "receive line"),
    ("flit-features", "process bnpl-transactions"),
    ("flit-scorer", "POST /v1/decisions"),
    ("flit-scorer", "GET /v1/decisions/{event_id}"),
    ("flit-sink", "process risk-decisions"),
}
"""Service and name of spans that have to be among those that are looked at."""


async def test_no_trace_shows_a_planted_value(planted: Planted, receiver: OtlpReceiver) -> None:
    async def all_have_told() -> bool:
        names = {(span.service, span.name) for span in receiver.spans}
        return names >= TOLD

    await until(all_have_told, "spans of every service")
    for span in receiver.spans:
        assert span.name in span.whole, "the whole span is looked at"
        assert MARK not in span.whole.lower() and str(AMOUNT) not in span.whole, span.whole
