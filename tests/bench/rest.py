"""The REST door with everything on (key, idempotency, claim, exposure, both topics acknowledged, real Valkey and Kafka)
beside MLServer, BentoML and FastAPI with nothing but ONNX, and beside a FastAPI route that does nothing: one process
each, the same booster, sixteen connections."""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx
import numpy as np
from aiokafka import AIOKafkaProducer

from deploy.local.ports import free_ports
from deploy.local.processes import ManagedProcess
from deploy.local.services import READY_TIMEOUT_SECONDS, Service
from deploy.local.stack import EmbeddedStack
from services.scorer.keys import Scope, new_key
from shared.contracts.identity import canonical_time
from shared.contracts.topics import DECISIONS, TRANSACTIONS
from tests.bench import bentoml, booster, mlserver
from tests.bench.decided import Decided
from tests.bench.flames import FLAMES
from tests.bench.http_peer import HttpPeer
from tests.bench.load import Answers, pack
from tests.bench.parts import lasting
from tests.bench.report import Finding, at_least, at_most, finding
from tests.bench.rounds import numbered
from tests.e2e.system import Log, until
from tests.factories import transaction

CONNECTIONS = 16
CUSTOMERS = 10_000
SEEDED = 20_000
"""Purchases that the customers have behind them when the measuring begins."""

WARM_S, ROUND_S, PACED_S = 3.0, 6.0, 10.0
SETTLING_S = 1.0
"""Of a paced round, not counted: both cores have just written its requests, and nothing is as warm as it stays."""
FEW = 0.001
"""Of a round's purchases may meet a Valkey that keeps them waiting for too long, on a machine that does other things as
well. So few cheap answers change no figure; more would be another measurement."""

WITHOUT_VALKEY_PER_SECOND = 200.0
WITHOUT_VALKEY_S = 3.0
DEADLINE_MS = 100

OURS, MLSERVER, BENTOML = "scorer", mlserver.NAME, bentoml.NAME
BARE, EMPTY = "FastAPI + ONNX", "FastAPI, empty route"
ALL = (OURS, MLSERVER, BENTOML, BARE, EMPTY)

MOST_PER_SECOND = {EMPTY: 24_000, BARE: 12_000}
MOST_OF_OTHERS = 6_000
"""What nobody answers: so many requests are written for each second of a round."""

Step = Callable[[str], None]


class Servers:
    """All of them at once; idle ones cost nothing."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.stack = EmbeddedStack(folder / "stack")
        http, operations, features, routes = free_ports(4)
        self.ports = {OURS: http, BARE: routes, EMPTY: routes}
        self.key, line = new_key("bench", [Scope.DECIDE, Scope.READ])
        (folder / "keys").write_text(line + "\n")
        self._settings = {
            "MODEL_REGISTRY__URI": str(folder / "models"),
            "SCORER__HTTP_PORT": str(http),
            "SCORER__API_KEYS_FILE": str(folder / "keys"),
            # One caller sends everything here; the limit is counted all the same.
            "SCORER__RATE_PER_SECOND": "1000000",
            "SCORER__RATE_BURST": "1000000",
            # The features service is away for most of it (below), and the model is to decide all the same.
            "SCORER__STATES_BEHIND_SECONDS": "86400",
        }
        self._services = {"features": Service("features", features), "scorer": Service("scorer", operations)}
        self._purchases, self._others = count(), count()
        self._running = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as running:
            trained = booster.train(self.folder / "models")
            self.width = len(trained.files.manifest.feature_names)
            model = self.folder / "model.onnx"
            model.write_bytes(trained.files.onnx)
            running.enter_context(self.stack)
            environment = self._services["scorer"].full_environment(self.stack.environment())
            subprocess.run(
                [sys.executable, "-m", "shared.kafka.admin", "create-topics"],
                env=environment, check=True, capture_output=True,
            )  # fmt: skip
            self.scorer, features = self._start("scorer", running), self._start("features", running)
            asyncio.run(self._seed())
            # What is measured is the scorer: the others would take the cores that it is measured on.
            features.stop()
            assert self.scorer.running
            routes = [sys.executable, "-m", "tests.bench.peers.routes", str(self.ports[EMPTY]), str(model)]
            peers = {
                MLSERVER: mlserver.mlserver(self.folder / "mlserver", trained.xgboost),
                BENTOML: bentoml.bentoml(self.folder / "bentoml", model),
                EMPTY: HttpPeer(routes, self.ports[EMPTY], "/openapi.json"),
            }
            for name, peer in peers.items():
                self.ports[name] = peer.port
                log = self.folder / f"port-{peer.port}.log"
                process = ManagedProcess(name, peer.command, log_file=log, environment=peer.environment)
                self._run(process, running, peer.ready)
            self._running = running.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._running.__exit__(kind, error, trace)

    def _start(self, name: str, running: ExitStack) -> ManagedProcess:
        service = self._services[name]
        environment = service.full_environment({**self.stack.environment(), **self._settings})
        process = ManagedProcess(name, service.command, log_file=self.folder / f"{name}.log", environment=environment)
        return self._run(process, running, service.ready)

    def _run(self, process: ManagedProcess, running: ExitStack, ready: Callable[[], bool]) -> ManagedProcess:
        running.callback(process.stop)
        process.start()
        process.wait_until(ready, READY_TIMEOUT_SECONDS)
        return process

    async def _seed(self) -> None:
        producer = AIOKafkaProducer(bootstrap_servers=self.stack.kafka.bootstrap_servers)
        await producer.start()
        for _ in range(SEEDED):
            body = self.purchase()
            await producer.send(TRANSACTIONS.name, json.dumps(body).encode(), key=body["customer_id"].encode())
        await producer.stop()
        log = Log(self.stack.kafka.bootstrap_servers)

        async def decided() -> bool:
            return await log.count(DECISIONS.name) >= SEEDED

        await until(decided, "the customers' past")

    def purchase(self) -> dict[str, Any]:
        number = next(self._purchases)
        customer = f"cust_{number % CUSTOMERS:06d}"
        occurred = datetime.now(UTC) - timedelta(seconds=1)
        return transaction(number, customer_id=customer, occurred_at=canonical_time(occurred))

    def requests(self, server: str, many: int, headers: str = "") -> Iterator[bytes]:
        """Whole requests. `headers`: more of them, each line with its end."""
        for _ in range(many):
            if server == OURS:
                own = f"Authorization: Bearer {self.key}\r\nIdempotency-Key: {next(self._others)}\r\n"
                yield _request("/v1/decisions", self.purchase(), own + headers)
            elif server == MLSERVER:
                inputs = {"name": "x", "shape": [1, self.width], "datatype": "FP32", "data": self._vector()}
                yield _request("/v2/models/risk/infer", {"inputs": [inputs]})
            elif server in (BENTOML, BARE):
                yield _request("/score", {"features": self._vector()})
            else:
                yield _request("/empty", {})

    def _vector(self) -> list[float]:
        drawn: list[float] = np.random.default_rng(next(self._others)).random(self.width).round(4).tolist()
        return drawn

    def load(self, server: str, seconds: float, *, rate: float | None = None, headers: str = "") -> Answers:
        """Raises AssertionError where the client had too few requests."""
        most = MOST_PER_SECOND.get(server, MOST_OF_OTHERS)
        many = int(seconds * (rate or most)) + CONNECTIONS
        path = pack(self.requests(server, many, headers), self.folder / "requests")
        told = self.folder / "answers"
        given = (self.ports[server], path, told, CONNECTIONS, seconds, *([rate] if rate else []))
        command = [sys.executable, "-m", "tests.bench.load", *map(str, given)]
        subprocess.run(command, check=True, timeout=seconds + 60)
        answers = Answers(**json.loads(told.read_text()))
        assert not answers.exhausted or rate, f"{server} answers more than {most} requests a second"
        return answers

    def decide(
        self, seconds: float, *, rate: float | None = None, headers: str = "", by_fallback: bool = False
    ) -> Answers:
        """Load of ours. Raises AssertionError where a fallback decided any of it, or, with `by_fallback`, the model."""
        port = self._services["scorer"].metrics_port
        before = Decided.at(port)
        answers = self.load(OURS, seconds, rate=rate, headers=headers)
        check_decided(answers, Decided.at(port).since(before), by_fallback=by_fallback)
        return answers

    def ask(self) -> dict[str, Any]:
        """One purchase, decided by ours."""
        answer = httpx.post(
            f"http://127.0.0.1:{self.ports[OURS]}/v1/decisions",
            json=self.purchase(),
            headers={"Authorization": f"Bearer {self.key}"},
            timeout=30.0,
        )
        answer.raise_for_status()
        decision: dict[str, Any] = answer.json()
        return decision


def check_decided(answers: Answers, made: Decided, *, by_fallback: bool) -> None:
    """Each purchase was new, so each that was answered was decided, all but FEW of them as they were meant to be.
    Raises AssertionError."""
    other = made.by_model if by_fallback else made.by_fallback
    assert made.together >= answers.statuses[200], (made, answers.statuses)
    assert other <= FEW * made.together, (made, answers.statuses)


def _request(path: str, asked: dict[str, Any], headers: str = "") -> bytes:
    body = json.dumps(asked).encode()
    head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n{headers}"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


def rest(rounds: int, step: Step) -> list[Finding]:
    """Requests answered in a second, round by round; then ours at half of that, under a deadline, without Valkey."""
    folder = Path(tempfile.mkdtemp(prefix="flit-bench-"))
    try:
        with Servers(folder) as servers:
            step("servers are up")
            assert servers.ask()["degraded"] is None, "the customers' past isn't there"
            for server in ALL:
                servers.load(server, lasting(WARM_S))
            step("warm")
            rates: dict[str, list[float]] = {server: [] for server in ALL}
            for number in numbered(rounds):
                for server in ALL:
                    if server == OURS:
                        with FLAMES.of(servers.scorer.pid, OURS):
                            answers = servers.decide(lasting(ROUND_S))
                    else:
                        answers = servers.load(server, lasting(ROUND_S))
                    assert set(answers.statuses) == {200}, (server, answers.statuses)
                    rates[server].append(answers.rate)
                step(f"round {number + 1}")
            rounds = len(rates[OURS])
            half = sorted(rates[OURS])[rounds // 2] / 2
            paced = [_settled(servers.decide(SETTLING_S + lasting(PACED_S), rate=half), half) for _ in range(rounds)]
            step("at half of its rate")
            deadline = f"Deadline-Ms: {DEADLINE_MS}\r\n"
            hurried = [servers.decide(lasting(ROUND_S), headers=deadline) for _ in range(rounds)]
            step("under a deadline")
            away = _without_valkey(servers, rounds)
            step("without Valkey")
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    p99 = [answers.percentile(0.99) * 1000 for answers in paced]
    return [
        finding(
            "REST decisions", "requests/s", rates[OURS],
            peer=(MLSERVER, rates[MLSERVER]), limit=(EMPTY, rates[EMPTY]),
            targets=[at_least("ratio", 2.5), at_least("of_limit", 0.35)],
        ),
        finding("REST decisions", "requests/s", rates[OURS], peer=(BENTOML, rates[BENTOML])),
        finding("REST decisions", "requests/s", rates[OURS], peer=(BARE, rates[BARE])),
        finding(
            "REST p99 at half of its rate", "ms", p99, bound=("15 ms", 15.0), targets=[at_most("ours", 15.0)]
        ),
        finding(
            f"REST slowest admitted, deadline {DEADLINE_MS} ms, full load", "ms",
            [_slowest(answers) for answers in hurried], bound=(f"{DEADLINE_MS} ms", DEADLINE_MS),
            targets=[at_most("ours", DEADLINE_MS)],
        ),
        finding("REST p99 without Valkey", "ms", away, bound=("30 ms", 30.0), targets=[at_most("ours", 30.0)]),
    ]  # fmt: skip


def _settled(answers: Answers, rate: float) -> Answers:
    skipped = int(SETTLING_S * rate)
    return replace(answers, took_s=answers.took_s[skipped:], status_of=answers.status_of[skipped:])


def _slowest(answers: Answers) -> float:
    """Of those that were let in, in ms: nearly all."""
    admitted = [took_s for took_s, status in zip(answers.took_s, answers.status_of, strict=True) if status == 200]
    assert set(answers.statuses) <= {200, 503}, answers.statuses
    assert len(admitted) >= 0.95 * len(answers.took_s), answers.statuses
    return max(admitted) * 1000


def _without_valkey(servers: Servers, rounds: int) -> list[float]:
    """p99 of flagged answers in ms, round by round."""
    servers.stack.valkey.kill()
    assert servers.ask()["degraded"] is not None
    p99: list[float] = []
    for _ in range(rounds):
        answers = servers.decide(lasting(WITHOUT_VALKEY_S), rate=WITHOUT_VALKEY_PER_SECOND, by_fallback=True)
        assert set(answers.statuses) == {200}, answers.statuses
        p99.append(answers.percentile(0.99) * 1000)
    assert servers.ask()["degraded"] is not None
    servers.stack.valkey.start()
    while servers.ask()["degraded"] is not None:
        time.sleep(0.1)
    return p99
