"""The features hop: our service, as it is started in production, beside Quix Streams and Bytewax, and a bare aiokafka
loop as the limit. One process each, the same purchases, the same decoder, feature function and output.

Each round sends purchases while nothing runs; then one program after the other takes them in, with the states that it
has of the rounds before. What counts is the time, and the CPU, from its first tenth of vectors to its last one: not the
start. At the end every vector is compared, byte for byte.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import psutil
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from deploy.local.environments import environment_of
from deploy.local.ports import free_ports
from deploy.local.processes import ManagedProcess, log_tail
from deploy.local.services import Service
from deploy.local.stack import EmbeddedStack
from services.ledger.log_reader import LogReader
from shared.contracts.headers import header
from shared.contracts.topics import FEATURES, TRANSACTIONS
from shared.kafka.admin import ensure_topics
from shared.kafka.connection import client_arguments
from shared.kafka.producer import ReliableProducer
from shared.settings import KafkaSettings
from tests.bench.embedded import kafka_and_valkey
from tests.bench.flames import FLAMES
from tests.bench.parts import sized
from tests.bench.purchases import send
from tests.bench.quix import FEATURES_NAME
from tests.bench.report import Finding, at_least, finding
from tests.bench.rounds import numbered

PEERS = Path(__file__).parent / "peers"
PURCHASES = 30_000
"""In a round: six seconds of the fastest."""

CUSTOMERS = 5_000
WARM_SHARE = 0.1
"""Of a round, before the clock starts."""

LOOK_S = 0.05
PATIENCE_S = 600.0
STOP_S = 60.0
"""For a peer's last checkpoint."""

OURS, QUIX, BYTEWAX, LOOP = "features", FEATURES_NAME, "Bytewax 0.21", "aiokafka, decode alone"
_COMPUTED_AT = re.compile(rb'"computed_at":"[^"]*"')

Step = Callable[[str], None]


@dataclass(frozen=True)
class Program:
    """One that takes purchases in. `store`: the process that keeps its states, where that is another one."""

    process: ManagedProcess
    output: str
    store: ManagedProcess | None = None

    def cpu_seconds(self) -> float:
        """Of all its threads, and of what they have forked, since its start."""
        processes = [self.process] if self.store is None else [self.process, self.store]
        return sum(sum(psutil.Process(each.pid).cpu_times()[:4]) for each in processes)


@dataclass(frozen=True)
class Pace:
    per_second: float
    per_cpu_second: float


class Hop:
    """The brokers, the store, and the programs, of which one at a time is started."""

    def __init__(self, folder: Path, stack: EmbeddedStack, each_round: int) -> None:
        self.kafka = KafkaSettings(bootstrap_servers=stack.kafka.bootstrap_servers)
        self._each_round = each_round
        self._sent = 0
        (port,) = free_ports(1)
        ours = Service(OURS, port)
        process = ManagedProcess(
            OURS,
            ours.command,
            log_file=folder / "features.log",
            environment=ours.full_environment(stack.environment()),
        )
        self.programs = {
            OURS: Program(process, FEATURES.name, store=stack.valkey.process),
            QUIX: self._peer(folder, "quix", "quix_app"),
            BYTEWAX: self._peer(folder, "bytewax", "bytewax_flow"),
            LOOP: self._loop(folder),
        }

    def _peer(self, folder: Path, name: str, module: str) -> Program:
        python = environment_of(PEERS / f"{name}.lock") / "bin" / "python"
        return self._program(folder, name, [str(python), "-m", f"tests.bench.peers.{module}"], folder / name)

    def _loop(self, folder: Path) -> Program:
        return self._program(folder, "loop", [sys.executable, "-m", "tests.bench.peers.loop"])

    def _program(self, folder: Path, name: str, command: list[str], *states: Path) -> Program:
        process = ManagedProcess(
            name,
            [*command, self.kafka.bootstrap_servers, *map(str, states), TRANSACTIONS.name, f"bench-{name}"],
            log_file=folder / f"{name}.log",
            environment={**os.environ, "PYTHONPATH": str(Path.cwd())},
            stop_timeout=STOP_S,
        )
        return Program(process, f"bench-{name}")

    async def begin(self) -> None:
        """Create the topics."""
        await ensure_topics(self.kafka)
        admin = AIOKafkaAdminClient(**client_arguments(self.kafka))
        await admin.start()
        others = [program.output for program in self.programs.values() if program.output != FEATURES.name]
        await admin.create_topics([NewTopic(topic, self.kafka.partitions, 1) for topic in others])
        await admin.close()

    async def send(self) -> None:
        """The next round's purchases."""
        producer = ReliableProducer(self.kafka)
        await producer.start()
        await send(producer, range(self._sent, self._sent + self._each_round), CUSTOMERS)
        await producer.stop()
        self._sent += self._each_round

    async def pace(self, program: Program, log: LogReader) -> Pace:
        """Let it take the round in. Raises AssertionError unless it makes one vector of each purchase."""
        program.process.start()
        try:
            first = await self._reached(program, log, self._sent - int((1 - WARM_SHARE) * self._each_round))
            ours = program.process.name == OURS
            with FLAMES.of(program.process.pid, OURS) if ours else nullcontext():
                began, cpu = time.perf_counter(), program.cpu_seconds()
                last = await self._reached(program, log, self._sent)
                took, cpu = time.perf_counter() - began, program.cpu_seconds() - cpu
        finally:
            program.process.stop()
        assert last > first, f"{self._each_round} purchases between two looks: too few to be timed"
        made = await _count(log, program.output)
        assert made == self._sent, f"{program.process.name}: {made} vectors of {self._sent} purchases"
        return Pace((last - first) / took, (last - first) / cpu)

    async def _reached(self, program: Program, log: LogReader, count: int) -> int:
        deadline = time.monotonic() + PATIENCE_S
        while (reached := await _count(log, program.output)) < count:
            assert program.process.running, log_tail(program.process.log_file)
            assert time.monotonic() < deadline, f"{program.process.name}: {reached} vectors of {count}"
            await asyncio.sleep(LOOK_S)
        return reached

    async def compare(self, log: LogReader) -> None:
        """Raises AssertionError where a vector differs by a byte from ours, but for when it was made."""
        ours = await _vectors(log, self.programs[OURS].output)
        for name in (QUIX, BYTEWAX):
            theirs = await _vectors(log, self.programs[name].output)
            different = sum(made != theirs.get(event_id) for event_id, made in ours.items())
            assert not different and len(theirs) == len(ours) == self._sent, f"{name}: {different} vectors differ"


async def _count(log: LogReader, topic: str) -> int:
    return sum((await log.ends(topic)).values())


async def _vectors(log: LogReader, topic: str) -> dict[str, bytes]:
    """Event id → digest of partition, key, headers and value."""
    found = {}
    async for record in log.read(await log.ends(topic)):
        headers = [each for each in record.headers if each[0] != "ce_time"]
        whole = (record.partition, record.key, headers, _COMPUTED_AT.sub(b"", record.value))
        found[header(record.headers, "ce_id") or ""] = hashlib.sha256(repr(whole).encode()).digest()
    return found


def features(rounds: int, step: Step) -> list[Finding]:
    folder = Path(tempfile.mkdtemp(prefix="flit-bench-"))
    try:
        with kafka_and_valkey(folder) as stack:
            paces = asyncio.run(_paces(Hop(folder, stack, sized(PURCHASES)), rounds, step))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    rate = {name: [pace.per_second for pace in of_rounds] for name, of_rounds in paces.items()}
    of_cpu = {name: [pace.per_cpu_second for pace in of_rounds] for name, of_rounds in paces.items()}
    return [
        finding(
            "features hop", "events/s", rate[OURS], peer=(QUIX, rate[QUIX]), limit=(LOOP, rate[LOOP]),
            targets=[at_least("ratio", 1.2), at_least("of_limit", 0.3)],
        ),
        finding(
            "features hop", "events/s", rate[OURS], peer=(BYTEWAX, rate[BYTEWAX]), targets=[at_least("ratio", 1.5)]
        ),
        finding(
            "features hop, store counted", "events/CPU s", of_cpu[OURS], peer=(QUIX, of_cpu[QUIX]),
            targets=[at_least("ratio", 1.0)],
        ),
        finding("features hop, store counted", "events/CPU s", of_cpu[OURS], peer=(BYTEWAX, of_cpu[BYTEWAX])),
    ]  # fmt: skip


async def _paces(hop: Hop, rounds: int, step: Step) -> dict[str, list[Pace]]:
    """Of each program, round by round; in another order in each round."""
    paces: dict[str, list[Pace]] = {name: [] for name in hop.programs}
    await hop.begin()
    async with LogReader(client_arguments(hop.kafka)) as log:
        for number in numbered(rounds):
            await hop.send()
            names = list(hop.programs)
            for name in names[number % len(names) :] + names[: number % len(names)]:
                step(f"round {number + 1}, {name}")
                paces[name].append(await hop.pace(hop.programs[name], log))
        step("comparing vectors")
        await hop.compare(log)
    return paces
