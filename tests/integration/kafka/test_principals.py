"""Every topic by every principal, reading and writing, on a real broker that asks who is there.

The table is written by hand: it is what the declaration (shared.kafka.grants) is held against.
"""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.client import AIOKafkaClient
from aiokafka.errors import (
    ClusterAuthorizationFailedError,
    GroupAuthorizationFailedError,
    KafkaConnectionError,
    KafkaError,
    NotCoordinatorForGroupError,
    TopicAuthorizationFailedError,
    UnknownMemberIdError,
    for_code,
)
from aiokafka.protocol.fetch import FetchRequest
from aiokafka.protocol.group import HeartbeatRequest
from aiokafka.protocol.produce import ProduceRequest
from aiokafka.record.default_records import DefaultRecordBatchBuilder

from deploy.local.certificates import Authority
from shared.contracts import topics
from shared.kafka import acls
from shared.kafka.connection import client_arguments
from shared.kafka.errors import BadTlsFile
from shared.kafka.grants import OURS, Grant, Operation, Resource, Rule, topics_of
from shared.kafka.producer import OutgoingRecord, ReliableProducer
from shared.settings import KafkaSettings
from tests.integration.kafka.conftest import OUTSIDERS, STRANGER, Secured

NAMES = tuple(topics.BY_NAME)
COLUMNS = ("transactions", "outcomes", "features", "decisions", "updates", "dead letters")
RIGHTS: dict[str, tuple[str, ...]] = {
    # transactions, outcomes, features, decisions, updates, dead letters
    "flit-ingestor": ("rw", "rw", "-", "-", "-", "w"),
    "flit-features": ("rw", "rw", "rw", "-", "r", "w"),
    "flit-scorer": ("w", "-", "r", "rw", "rw", "w"),
    "flit-sink": ("r", "r", "r", "r", "r", "r"),
    "flit-trainer": ("-", "-", "-", "-", "r", "-"),
    "flit-ledger": ("r", "r", "r", "r", "r", "r"),
    "flit-console": ("-", "-", "-", "-", "w", "-"),
    "flit-operators": ("rw", "rw", "rw", "r", "r", "r"),
    "flit-deployer": ("-", "-", "-", "-", "-", "-"),
    "shop": ("w", "-", "-", "-", "-", "-"),
    "bank": ("-", "w", "-", "-", "-", "-"),
    "reporting": ("-", "-", "-", "r", "-", "-"),
    "reviews": ("-", "-", "-", "r", "r", "-"),
    STRANGER: ("-", "-", "-", "-", "-", "-"),
}

GROUPS = ("flit-features", "flit-scorer", "flit-sink", "flit-trainer", "reporting", "reporting.hourly", "reporting2",
          "reviews")  # fmt: skip
MEMBERS: dict[str, set[str]] = {
    **{f"flit-{service}": {f"flit-{service}"} for service in ("features", "scorer", "sink", "trainer")},
    "reporting": {"reporting", "reporting.hourly"},
    "reviews": {"reviews"},
}
"""Who may be in which group; who isn't named may be in none."""

BROKER_ID = 1


@asynccontextmanager
async def connected(settings: KafkaSettings) -> AsyncIterator[AIOKafkaClient]:
    """Raises KafkaConnectionError where the broker doesn't let it in."""
    client = AIOKafkaClient(**client_arguments(settings))
    try:
        await client.bootstrap()
        yield client
    finally:
        await client.close()


async def may_read(client: AIOKafkaClient, topic: str) -> bool:
    """Asks the leader for records, whatever the metadata says."""
    request = FetchRequest(0, 0, 1_000_000, 0, [(topic, [(0, 0, 1_000_000)])])
    answer: Any = await client.send(BROKER_ID, request)
    ((_, ((_, code, *_),)),) = answer.topics
    return allowed(code, TopicAuthorizationFailedError)


async def may_write(client: AIOKafkaClient, topic: str) -> bool:
    batch = DefaultRecordBatchBuilder(2, 0, 0, -1, -1, -1, 4096)
    batch.append(0, timestamp=int(time.time() * 1000), key=b"k", value=b"v", headers=[])
    request = ProduceRequest(None, -1, 10_000, [(topic, [(0, bytes(batch.build()))])])
    answer: Any = await client.send(BROKER_ID, request)
    ((_, ((_, code, *_),)),) = answer.topics
    return allowed(code, TopicAuthorizationFailedError)


async def may_join(client: AIOKafkaClient, group: str) -> bool:
    """As a member that nobody knows: what a heartbeat is answered tells whether it might have been one."""
    answer: Any = await client.send(BROKER_ID, HeartbeatRequest(group, 1, "nobody"))
    # The second where no group has had a coordinator yet: it is looked for after the right.
    return allowed(answer.error_code, GroupAuthorizationFailedError, UnknownMemberIdError, NotCoordinatorForGroupError)


def allowed(code: int, refusal: type[KafkaError], *fine: type[KafkaError]) -> bool:
    """What an answer says. Any other error than these is a fault of the test."""
    assert code in {0, refusal.errno, *(each.errno for each in fine)}, for_code(code).__name__
    return code != int(refusal.errno)


async def rights(settings: KafkaSettings) -> tuple[str, ...]:
    async with connected(settings) as client:
        found = [
            ("r" if await may_read(client, name) else "") + ("w" if await may_write(client, name) else "")
            for name in NAMES
        ]
    return tuple(each or "-" for each in found)


def test_the_table_has_a_row_for_every_principal_and_a_column_for_every_topic() -> None:
    assert set(RIGHTS) == {*OURS, *OUTSIDERS, STRANGER}
    assert {len(row) for row in RIGHTS.values()} == {len(NAMES)} == {len(COLUMNS)}


async def test_each_user_reads_and_writes_what_the_table_says_and_nothing_else(secured: Secured) -> None:
    assert {name: await rights(secured.sasl(name)) for name in RIGHTS} == RIGHTS


async def test_a_certificate_gives_the_rights_of_the_user_whose_name_it_bears(secured: Secured) -> None:
    assert {name: await rights(secured.security.mtls(name)) for name in RIGHTS} == RIGHTS


async def test_a_group_is_open_to_its_own_service_only(secured: Secured) -> None:
    found: dict[str, set[str]] = {}
    for name in RIGHTS:
        async with connected(secured.sasl(name)) as client:
            found[name] = {group for group in GROUPS if await may_join(client, group)}
    assert found == {name: MEMBERS.get(name, set()) for name in RIGHTS}


@pytest.mark.parametrize("name", [name for name in RIGHTS if name != "flit-deployer"])
async def test_no_one_but_the_deployer_makes_topics_and_no_one_changes_rules(secured: Secured, name: str) -> None:
    admin = AIOKafkaAdminClient(**client_arguments(secured.sasl(name)))
    await admin.start()
    try:
        made = await admin.create_topics([NewTopic("another", 1, 1)])
        gone = await admin.delete_topics([topics.TRANSACTIONS.name])
    finally:
        await admin.close()
    assert {code for _, code, *_ in made.topic_errors} <= {TopicAuthorizationFailedError.errno}
    assert {code for _, code in gone.topic_error_codes} == {TopicAuthorizationFailedError.errno}
    with pytest.raises(acls.NotPermitted, match=ClusterAuthorizationFailedError.__name__):
        await acls.apply(secured.sasl(name), secured.rules)


async def test_the_deployer_deletes_no_topic_and_changes_no_rule(secured: Secured) -> None:
    admin = AIOKafkaAdminClient(**client_arguments(secured.sasl("flit-deployer")))
    await admin.start()
    try:
        gone = await admin.delete_topics([topics.TRANSACTIONS.name])
    finally:
        await admin.close()
    assert {code for _, code in gone.topic_error_codes} == {TopicAuthorizationFailedError.errno}
    with pytest.raises(acls.NotPermitted, match=ClusterAuthorizationFailedError.__name__):
        await acls.apply(secured.sasl("flit-deployer"), secured.rules)


async def test_an_idempotent_producer_needs_no_other_right_than_to_write(secured: Secured) -> None:
    for settings in (secured.sasl("shop"), secured.security.mtls("shop")):
        producer = ReliableProducer(settings)
        await producer.start()
        try:
            (placed,) = await producer.send_all([OutgoingRecord(topics.TRANSACTIONS.name, b"anna", b"{}")])
        finally:
            await producer.stop()
        assert placed.offset >= 0


def without_credentials(secured: Secured) -> dict[str, KafkaSettings]:
    """Clients that none of the listeners may let in."""
    user, certificate = secured.sasl("flit-sink"), secured.security.mtls("flit-sink")
    ours, theirs = secured.security.authority, Authority(Path(str(user.ssl_cafile)).parent / "theirs")
    plain = {"security_protocol": "PLAINTEXT", "ssl_certfile": None, "ssl_keyfile": None}
    outdated, forged = ours.issue("outdated", expired=True), theirs.issue("flit-sink")
    return {
        "an unknown user": secured.sasl("flit-nobody", "x" * 36),
        "a wrong password": secured.sasl("flit-sink", "x" * 36),
        "another user's password": secured.sasl("flit-sink", secured.security.passwords["flit-ledger"]),
        "no encryption, at the listener for users": user.model_copy(update=plain),
        "no encryption, at the listener for certificates": certificate.model_copy(update=plain),
        "a password without encryption": user.model_copy(update={"security_protocol": "SASL_PLAINTEXT"}),
        "no user": user.model_copy(update={"security_protocol": "SSL"}),
        "no certificate": certificate.model_copy(update={"ssl_certfile": None, "ssl_keyfile": None}),
        "an outdated certificate": certificate.model_copy(
            update={"ssl_certfile": str(outdated.certfile), "ssl_keyfile": str(outdated.keyfile)}
        ),
        "a certificate that somebody else has signed": certificate.model_copy(
            update={"ssl_certfile": str(forged.certfile), "ssl_keyfile": str(forged.keyfile)}
        ),
        "a broker that somebody else vouches for": user.model_copy(update={"ssl_cafile": str(theirs.cafile)}),
    }


async def test_who_does_not_say_who_he_is_gets_nothing(secured: Secured) -> None:
    let_in = []
    for name, settings in without_credentials(secured).items():
        try:
            async with connected(settings) as client:
                await may_read(client, NAMES[0])
                let_in.append(name)
        except KafkaConnectionError:
            continue
    assert let_in == []


@pytest.mark.parametrize("listener", ["sasl", "mtls"])
def test_bytes_that_are_not_encrypted_are_not_answered(secured: Secured, listener: str) -> None:
    servers = secured.kafka.bootstrap_servers if listener == "sasl" else secured.security.mtls_servers
    host, _, port = servers.partition(":")
    versions = b"\x00\x00\x00\x0d" + b"\x00\x12\x00\x00" + b"\x00\x00\x00\x07" + b"\x00\x03you"
    with socket.create_connection((host, int(port)), timeout=30) as connection:
        connection.sendall(versions)
        received = b""
        while piece := _piece(connection):
            received += piece
    assert received == b"" or received[:1] == b"\x15", "a TLS alert at the most"
    assert b"\x00\x00\x00\x07" not in received


def _piece(connection: socket.socket) -> bytes:
    try:
        return connection.recv(1024)
    except ConnectionResetError:
        return b""


async def test_a_right_that_is_no_longer_declared_is_taken_away(secured: Secured) -> None:
    extra = Rule("flit-trainer", Grant(Resource.TOPIC, topics.DECISIONS.name, Operation.READ))
    given = await acls.apply(secured.administrator, {*secured.rules, extra})
    assert (set(given.missing), set(given.surplus)) == ({extra}, set())
    assert (await rights(secured.sasl("flit-trainer")))[3] == "r"
    assert (await acls.difference(secured.administrator, secured.rules)).surplus == {extra}
    taken = await acls.apply(secured.administrator, secured.rules)
    assert (set(taken.missing), set(taken.surplus)) == (set(), {extra})
    assert await rights(secured.sasl("flit-trainer")) == RIGHTS["flit-trainer"]
    assert (await acls.difference(secured.administrator, secured.rules)).none


def environment(settings: KafkaSettings) -> dict[str, str]:
    """Settings as a process gets them."""
    values = {name: getattr(settings, name) for name in settings.model_fields_set}
    shown = {
        name: value.get_secret_value() if name == "sasl_password" else str(value) for name, value in values.items()
    }
    return {"PYTHONPATH": str(Path.cwd()), **{f"KAFKA__{name.upper()}": value for name, value in shown.items()}}


def test_the_command_says_what_differs_and_by_its_status_that_something_does(secured: Secured) -> None:
    command = [sys.executable, "-m", "shared.kafka.acls", "check"]
    also = [word for name, role in OUTSIDERS.items() for word in ("--also", f"{name}={role}")]
    known = {"env": environment(secured.administrator), "capture_output": True, "text": True, "check": False}
    same = subprocess.run([*command, *also], **known)  # type: ignore[call-overload]
    assert same.returncode == 0, same.stderr
    other = subprocess.run([*command, *also, "--also", "shop-b=producers"], **known)  # type: ignore[call-overload]
    assert (other.returncode, other.stdout) == (1, "missing: shop-b: Write topic bnpl-transactions\n")
    known["env"] = environment(secured.sasl("flit-sink"))
    refused = subprocess.run(command, **known)  # type: ignore[call-overload]
    assert refused.returncode == 1
    assert "NotPermitted" in refused.stderr


def test_a_service_looks_for_those_topics_that_it_may_see() -> None:
    for name, role in OURS.items():
        seen = {topic for topic, right in zip(NAMES, RIGHTS[name], strict=True) if right != "-"}
        assert {topic.name for topic in topics_of(role)} == (set(NAMES) if role == "deployer" else seen)


def test_a_file_that_can_not_be_used_is_named_with_its_setting(secured: Secured, tmp_path: Path) -> None:
    settings = secured.security.mtls("flit-sink")
    for field, setting in (("ssl_cafile", "KAFKA__SSL_CAFILE"), ("ssl_keyfile", "KAFKA__SSL_KEYFILE")):
        for path in (tmp_path / "not-there", Path(__file__)):
            with pytest.raises(BadTlsFile, match=setting):
                client_arguments(settings.model_copy(update={field: str(path)}))
