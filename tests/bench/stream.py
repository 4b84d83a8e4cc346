"""The scorer's stream door, as it is started in production (claims, exposure, reasons, all acknowledged), beside
MLServer's Kafka runtime and a Quix Streams application that calls ONNX Runtime: one process each, the same booster, the
same vectors. The peers do less: they answer with a probability, claim nothing and keep no account.

Limits: how many rows ONNX Runtime alone answers in batches as large as ours, and how many of the decisions' records
aiokafka alone sends.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace

import orjson

from services.scorer.settings import ScorerSection
from shared.contracts.topics import DECISIONS
from shared.deciding import matrix_of
from shared.deciding.onnx_model import INPUT, PROBABILITIES
from shared.kafka.producer import OutgoingRecord
from tests.bench import booster, mlserver, quix
from tests.bench.backlog import Backlog, Pace, by_model
from tests.bench.booster import Booster
from tests.bench.events import CUSTOMERS, vectors
from tests.bench.onnx_session import session_of
from tests.bench.parts import Parts, Worker, sized
from tests.bench.report import Finding, at_least, finding
from tests.bench.rounds import numbered

VECTORS, SLOWER = 20_000, 4_000
"""In a round: some seconds of ours, and of MLServer."""

OURS, MLSERVER, QUIX = "scorer", mlserver.NAME, quix.NAME
MLSERVER_IN, MLSERVER_OUT = "bench-mlserver-vectors", "bench-mlserver-answers"
QUIX_IN, QUIX_OUT = "bench-quix-vectors", "bench-quix-answers"
SENT = "bench-sent"

CHUNK = ScorerSection().chunk_records
ONNX_ROWS, SENT_RECORDS = 100_000, 100_000
"""Of the limits, which would be over in half a second with as few as ours."""

Step = Callable[[str], None]


@dataclass(frozen=True)
class Programs:
    """All of them at once; idle ones cost nothing."""

    parts: Parts
    trained: Booster
    ours: Worker
    mlserver: Worker
    quix: Worker

    def questions(self, batch: Sequence[OutgoingRecord]) -> list[OutgoingRecord]:
        """The vectors as MLServer is asked: its protocol knows no null."""
        asked = []
        for record in batch:
            features = _features(record)
            data = [features[name] or 0.0 for name in self.trained.files.manifest.feature_names]
            inputs = [{"name": "x", "shape": [1, len(data)], "datatype": "FP32", "data": data}]
            headers = [("mlserver-model", mlserver.MODEL.encode())]
            asked.append(OutgoingRecord(MLSERVER_IN, record.key, orjson.dumps({"inputs": inputs}), headers))
        return asked


def stream(rounds: int, step: Step) -> list[Finding]:
    """Decisions a second, round by round."""
    with Parts() as parts, ExitStack() as running:
        trained = booster.train(parts.models)
        programs = _start(parts, trained, running)
        step("programs are up")
        paces, sent, rows = asyncio.run(_rounds(programs, rounds, step))
    rates = {name: [pace.per_second for pace in of] for name, of in paces.items()}
    costs = {name: [pace.cpu_ms for pace in of] for name, of in paces.items()}
    onnx = (f"ONNX Runtime, {CHUNK} rows at once", rows)
    return [
        finding(
            "stream decisions", "decisions/s", rates[OURS],
            peer=(MLSERVER, rates[MLSERVER]), limit=("aiokafka, sends the same records", sent),
            targets=[at_least("ours", 10_000), at_least("ratio", 5), at_least("of_limit", 0.25)],
        ),
        finding("stream decisions", "decisions/s", rates[OURS], peer=(QUIX, rates[QUIX]), limit=onnx),
        finding("stream decisions, CPU of each", "ms", costs[OURS], peer=(MLSERVER, costs[MLSERVER])),
        finding("stream decisions, CPU of each", "ms", costs[OURS], peer=(QUIX, costs[QUIX])),
    ]  # fmt: skip


def _start(parts: Parts, trained: Booster, running: ExitStack) -> Programs:
    """Up, and joining their groups: each has its partitions once the first round is over."""
    for topic in (MLSERVER_IN, MLSERVER_OUT, QUIX_IN, QUIX_OUT, SENT):
        parts.create_topic(topic)
    runtime = {
        "kafka_enabled": True,
        "kafka_servers": parts.kafka.bootstrap_servers,
        "kafka_topic_input": MLSERVER_IN,
        "kafka_topic_output": MLSERVER_OUT,
    }
    theirs = mlserver.mlserver(parts.folder / "mlserver", trained.xgboost, kafka=runtime)
    programs = Programs(
        parts,
        trained,
        parts.service("scorer"),
        parts.peer("mlserver", theirs),
        quix.scorer(parts, trained, QUIX_IN, QUIX_OUT),
    )
    for worker in (programs.ours, programs.mlserver, programs.quix):
        running.enter_context(worker.running())
    return programs


async def _rounds(
    programs: Programs, rounds: int, step: Step
) -> tuple[dict[str, list[Pace]], list[float], list[float]]:
    """Of each program; records that aiokafka alone sends a second, and rows that ONNX Runtime alone answers."""
    paces: dict[str, list[Pace]] = {OURS: [], MLSERVER: [], QUIX: []}
    sent: list[float] = []
    rows: list[float] = []
    each, fewer = sized(VECTORS), sized(SLOWER)
    async with Backlog.open(programs.parts.kafka) as backlog:
        for number in numbered(rounds, warming_up=1):
            batch = list(vectors(range(number * each, (number + 1) * each), first=number * CUSTOMERS))
            taken = {
                OURS: await backlog.pace([programs.ours], batch, DECISIONS.name),
                MLSERVER: await backlog.pace([programs.mlserver], programs.questions(batch[:fewer]), MLSERVER_OUT),
                QUIX: await backlog.pace([programs.quix], [replace(one, topic=QUIX_IN) for one in batch], QUIX_OUT),
            }
            if number:
                for name, pace in taken.items():
                    paces[name].append(pace)
                sent.append(_sent(programs.parts, sized(SENT_RECORDS), different=each))
                rows.append(_rows(programs.trained, batch))
                step(f"round {number}")
        await by_model([programs.ours], (len(sent) + 1) * each)
    return paces, sent, rows


def _sent(parts: Parts, count: int, *, different: int) -> float:
    """Records that aiokafka alone sends a second: `different` of our decisions, over and over."""
    arguments = (parts.kafka.bootstrap_servers, DECISIONS.name, SENT, str(count), str(different))
    command = [sys.executable, "-m", "tests.bench.peers.produce", *arguments]
    return float(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)


def _rows(trained: Booster, batch: Sequence[OutgoingRecord]) -> float:
    """That ONNX Runtime alone answers a second, in batches as large as the stream door's."""
    names = trained.files.manifest.feature_names
    matrix = matrix_of([_features(record) for record in batch], names)
    chunks = [matrix[start : start + CHUNK] for start in range(0, len(matrix), CHUNK)]
    session, rows, began = session_of(trained.files.onnx), 0, time.perf_counter()
    while rows < ONNX_ROWS:
        for chunk in chunks:
            session.run([PROBABILITIES], {INPUT: chunk})
            rows += len(chunk)
    return rows / (time.perf_counter() - began)


def _features(record: OutgoingRecord) -> dict[str, float | None]:
    features: dict[str, float | None] = orjson.loads(record.value or b"")["features"]
    return features
