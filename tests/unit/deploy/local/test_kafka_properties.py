from __future__ import annotations

from pathlib import Path

import pytest

from deploy.local import kafka_jars
from deploy.local.certificates import Authority
from deploy.local.kafka import Node, properties_text
from deploy.local.kafka_security import KafkaSecurity
from deploy.local.processes import StartFailed

NODES = [Node(number, 21000 + number, 22000 + number) for number in (1, 2, 3)]


def properties(node: Node, nodes: list[Node]) -> dict[str, str]:
    return dict(line.split("=", 1) for line in properties_text(node, nodes, Path("/data")).splitlines())


def test_a_lone_broker_replicates_nothing() -> None:
    alone = properties(NODES[0], NODES[:1])
    assert {value for name, value in alone.items() if name.endswith((".replication.factor", ".isr"))} == {"1"}


def test_three_brokers_survive_the_loss_of_one() -> None:
    second = properties(NODES[1], NODES)
    assert second["controller.quorum.voters"] == "1@127.0.0.1:22001,2@127.0.0.1:22002,3@127.0.0.1:22003"
    assert second["offsets.topic.replication.factor"] == "3"
    assert second["min.insync.replicas"] == "2"


def test_every_listener_is_on_loopback() -> None:
    listeners = properties(NODES[0], NODES)["listeners"].split(",")
    assert all(each.split("://")[1].startswith("127.0.0.1:") for each in listeners)


def test_a_secured_broker_has_no_listener_without_encryption_and_none_for_strangers(tmp_path: Path) -> None:
    security = KafkaSecurity(tmp_path, ["flit-sink"], {node.id: 23000 + node.id for node in NODES})
    text = properties_text(NODES[0], NODES, tmp_path, security)
    secured = dict(line.split("=", 1) for line in text.splitlines())
    names = [each.partition("://")[0] for each in secured["listeners"].split(",")]
    kinds = dict(each.split(":") for each in secured["listener.security.protocol.map"].split(","))
    assert {kinds[name] for name in names} == {"SSL", "SASL_SSL"}
    for name in names:
        certificates = secured.get(f"listener.name.{name.lower()}.ssl.client.auth")
        assert (certificates == "required") == (kinds[name] == "SSL"), name
    assert "allow.everyone.if.no.acl.found" not in secured
    assert not any(password in text for password in security.passwords.values())


def test_keys_of_certificates_are_for_their_owner_alone(tmp_path: Path) -> None:
    made = Authority(tmp_path).issue("flit-sink")
    assert {file.stat().st_mode & 0o077 for file in (made.keyfile, made.storefile)} == {0}


def test_a_broker_behind_a_proxy_sends_its_clients_back_to_the_proxy_and_its_own_to_itself() -> None:
    node = Node(1, 21001, 22001, proxied=(23001, 24001))
    made = properties(node, [node])
    assert made["listeners"].endswith(",PROXIED://127.0.0.1:23001")
    assert made["advertised.listeners"] == "PLAINTEXT://127.0.0.1:21001,PROXIED://127.0.0.1:24001"
    assert "PROXIED" not in properties(NODES[0], NODES[:1])["listeners"]


def test_the_lock_holds_the_version_that_is_wanted() -> None:
    jars = {f"{jar.group}:{jar.artifact}:{jar.version}" for jar in kafka_jars.read_lock()}
    assert {each.removesuffix("!") for each in kafka_jars.COORDINATES} <= jars
    assert all(len(jar.sha256) == 64 for jar in kafka_jars.read_lock())


def test_a_jar_that_is_not_the_locked_one_is_never_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    jar = kafka_jars.Jar("0" * 64, "org.example", "thing", "1.0")
    lock = tmp_path / "lock"
    lock.write_text(f"{jar.sha256}  {jar.group}:{jar.artifact}:{jar.version}\n")

    def fetch_something_else(self: object) -> None:
        (tmp_path / "maven" / jar.path).parent.mkdir(parents=True)
        (tmp_path / "maven" / jar.path).write_bytes(b"not what was locked")

    monkeypatch.setattr("jgo.maven._core.Artifact.resolve", fetch_something_else)
    with pytest.raises(StartFailed, match=r"can't trust thing-1\.0\.jar"):
        kafka_jars.classpath(tmp_path, lock)
