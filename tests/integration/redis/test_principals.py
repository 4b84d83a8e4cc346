"""Every family of keys by every user, reading and writing, on a real Valkey that asks who is there.

The table is written by hand: it is what the declaration (shared.redis_grants) is held against.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis
from redis.exceptions import AuthenticationError, NoPermissionError, RedisError
from redis.exceptions import ConnectionError as RedisAway

from deploy.local.certificates import Authority
from deploy.local.ports import free_ports
from deploy.local.valkey import UsersFile, Valkey
from services.ingestor.cursor import Cursor, CursorStore
from services.scorer.claims import Claim, ClaimStore
from services.scorer.gathering import GatheringRedis
from services.scorer.idempotency import IdempotencyKeys
from services.sink.streams import RedisStreamNames
from shared.feature_state import EMPTY, FeatureStateStore, Move, Position
from shared.redis_grants import ADMINISTRATOR, FAMILIES, USERS, users_file
from shared.settings import RedisSettings
from tests.tls_proxy import TlsProxy

PASSWORDS = {name: f"{name}-{'x' * 32}" for name in (*USERS, ADMINISTRATOR)}
NEXT = "y" * 40
"""A second password of the sink's user, as while one follows the other."""

SERVICES = ("features", "scorer", "sink", "ingestor", "ledger", "operators")
TABLE: dict[str, tuple[str, ...]] = {
    # features, scorer, sink, ingestor, ledger, operators
    "states": ("rw", "r", "-", "-", "-", "rw"),
    "positions": ("rw", "r", "r", "-", "-", "r"),
    "exposures": ("-", "rw", "-", "-", "-", "rw"),
    "refused": ("rw", "-", "r", "-", "-", "r"),
    "rebuilding": ("rw", "r", "-", "-", "-", "r"),
    "partitions": ("rw", "rw", "rw", "-", "-", "r"),
    "pseudonyms": ("rw", "rw", "rw", "-", "-", "r"),
    "claims": ("-", "rw", "-", "-", "-", "rw"),
    "claim_index": ("-", "rw", "-", "-", "-", "r"),
    "idempotency": ("-", "rw", "-", "-", "-", "-"),
    "cursors": ("-", "-", "-", "rw", "r", "-"),
    "replayed": ("-", "-", "-", "rw", "r", "rw"),
    "streams": ("-", "-", "rw", "-", "-", "-"),
    "elsewhere": ("-", "-", "-", "-", "-", "-"),
}
EXAMPLES = {**{name: family.example for name, family in FAMILIES.items()}, "elsewhere": "elsewhere"}

READS: tuple[tuple[str, Sequence[Any]], ...] = (
    *(("GET", ()), ("HGETALL", ()), ("HGET", ("f",)), ("ZRANGEBYSCORE", (0, 1)), ("ZMSCORE", ("m",)), ("TYPE", ())),
)
WRITES: tuple[tuple[str, Sequence[Any]], ...] = (
    *(("SET", ("1",)), ("HSET", ("f", "1")), ("ZADD", (1, "m")), ("DEL", ()), ("PEXPIRE", (1,))),
)
"""Whichever of them the user may give at all is tried on the key: no command that it has opens a key that isn't its."""

FORBIDDEN = (
    *("KEYS *", "FLUSHALL", "FLUSHDB", "CONFIG GET *", "CONFIG SET save 1", "ACL LIST", "ACL WHOAMI"),
    *("MONITOR", "CLIENT LIST", "CLIENT KILL TYPE normal", "SCRIPT FLUSH", "FUNCTION LIST", "SHUTDOWN NOSAVE", "SAVE"),
    *("REPLICAOF NO ONE", "RENAME a b", "COPY a b", "SWAPDB 0 1", "RANDOMKEY", "DBSIZE", "PUBLISH c m", "SUBSCRIBE c"),
)


@dataclass(frozen=True)
class Secured:
    valkey: Valkey
    authority: Authority
    plain_port: int
    tls_port: int

    def settings(self, user: str, password: str | None = None) -> RedisSettings:
        url = f"rediss://{user}:{password or PASSWORDS[user]}@127.0.0.1:{self.tls_port}/0"
        return RedisSettings(url=url, ssl_cafile=str(self.authority.cafile))

    def client(self, user: str, password: str | None = None) -> Redis:
        return Redis.from_url(self.settings(user, password).address)


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    folder = tmp_path_factory.mktemp("secured-valkey")
    port, tls_port = free_ports(2)
    passwords = {name: [password] for name, password in PASSWORDS.items()}
    passwords["flit-sink"].append(NEXT)
    file = folder / "users.acl"
    file.write_text(users_file(passwords))
    authority = Authority(folder / "certificates")
    valkey = Valkey(folder / "valkey", port, UsersFile(file, ADMINISTRATOR, PASSWORDS[ADMINISTRATOR]))
    try:
        valkey.start()
        with TlsProxy(tls_port, port, authority.issue("valkey")):
            yield Secured(valkey, authority, port, tls_port)
    finally:
        valkey.stop()


@pytest.fixture
async def administrator(secured: Secured) -> AsyncIterator[Redis]:
    """On an empty server, whose log of refusals is empty as well."""
    client = secured.client(ADMINISTRATOR)
    await client.flushall()
    await client.acl_log_reset()
    yield client
    await client.aclose()


async def permitted(client: Redis, *command: Any) -> bool:
    try:
        await client.execute_command(*command)  # type: ignore[no-untyped-call]
    except NoPermissionError:
        return False
    except RedisError as error:
        assert "WRONGTYPE" in str(error), error
    return True


async def right(client: Redis, key: str) -> str:
    reads = [await permitted(client, name, key, *rest) for name, rest in READS]
    writes = [await permitted(client, name, key, *rest) for name, rest in WRITES]
    found = ("r" if any(reads) else "") + ("w" if any(writes) else "")
    return found or "-"


def test_the_table_has_a_row_for_every_family_and_a_column_for_every_user() -> None:
    assert set(TABLE) == {*FAMILIES, "elsewhere"}
    assert {f"flit-{service}" for service in SERVICES} == set(USERS)


async def test_each_user_reads_and_writes_the_keys_that_the_table_says_and_no_others(
    secured: Secured, administrator: Redis
) -> None:
    found: dict[str, list[str]] = {name: [] for name in TABLE}
    for service in SERVICES:
        client = secured.client(f"flit-{service}")
        for name in TABLE:
            found[name].append(await right(client, EXAMPLES[name]))
        await client.aclose()
    # The scorer reads states with MGET alone, and a script of its own gets no further than it does.
    assert {name: tuple(row) for name, row in found.items()} == {
        **TABLE,
    }


async def test_a_script_reaches_no_further_than_who_calls_it(secured: Secured, administrator: Redis) -> None:
    await administrator.set("d:0123", "the decision")
    for service in ("features", "sink"):
        client = secured.client(f"flit-{service}")
        for script in ("return redis.call('GET', KEYS[1])", "return redis.call('GET', 'd:0123')"):
            with pytest.raises(RedisError, match=r"(?i)permission|acl"):
                await client.eval(script, 1, "d:0123")
        await client.aclose()


async def test_no_service_can_empty_look_through_or_rule_the_server(secured: Secured, administrator: Redis) -> None:
    for service in SERVICES:
        client = secured.client(f"flit-{service}")
        let_through = [text for text in FORBIDDEN if await permitted(client, *text.split())]
        assert let_through == [], service
        await client.aclose()


SEE_NAMES = {"features", "ledger"}
"""Of keys, all of them: the one looks for a partition's states, the other for cursors."""


async def test_names_of_keys_are_seen_by_those_who_look_for_keys_and_by_nobody_else(secured: Secured) -> None:
    found = set()
    for service in SERVICES:
        client = secured.client(f"flit-{service}")
        if await permitted(client, "SCAN", "0", "COUNT", "10"):
            found.add(service)
        await client.aclose()
    assert found == SEE_NAMES


async def test_who_does_not_say_who_he_is_gets_nothing(secured: Secured) -> None:
    default = Redis(port=secured.plain_port)
    with pytest.raises(AuthenticationError):
        await default.get("flit:partitions")
    await default.aclose()
    for user, password in (("flit-sink", "x" * 40), ("flit-nobody", "x" * 40), ("default", "x" * 40)):
        client = secured.client(user, password)
        with pytest.raises(AuthenticationError):
            await client.get("flit:partitions")
        await client.aclose()


async def test_two_passwords_are_good_while_one_follows_the_other(secured: Secured) -> None:
    for password in (PASSWORDS["flit-sink"], NEXT):
        client = secured.client("flit-sink", password)
        assert await client.ping()
        await client.aclose()


async def test_a_server_that_somebody_else_vouches_for_is_told_no_password(secured: Secured, tmp_path: Path) -> None:
    theirs = secured.settings("flit-sink").model_copy(update={"ssl_cafile": str(Authority(tmp_path).cafile)})
    unencrypted = f"redis://flit-sink:{PASSWORDS['flit-sink']}@127.0.0.1:{secured.tls_port}/0"
    for address in (theirs.address, unencrypted):
        client = Redis.from_url(address)
        with pytest.raises(RedisAway):
            await client.ping()
        await client.aclose()


async def features_work(settings: RedisSettings) -> None:
    store = FeatureStateStore.connect(settings.address)
    await store.check_partitions(4)
    await store.begin(0, Position(5, -1))
    assert (await store.standing(0)).target == Position(5, -1)
    await store.commit([Move(0, EMPTY, Position(5, -1), {"anna": b"1"}, [3])])
    assert (await store.read_states({0: ["anna"]}, {0: Position(5, -1)}))[0] == {"anna": b"1"}
    await store.forget(0)
    await store.begin(0, EMPTY)
    await store.close()


async def scorer_works(settings: RedisSettings) -> None:
    client = GatheringRedis.from_url(settings.address)
    store, claims = FeatureStateStore(client), ClaimStore(client, ttl_s=60)
    await store.check_partitions(4)
    await store.read_for_requests([(0, "anna")])
    keys = IdempotencyKeys(client, ttl_s=60, in_flight_s=5)
    assert await keys.bind_all([("shop", "k", b"0" * 16)]) == [True]
    await keys.release_all([("shop", "k", b"0" * 16)])
    with pytest.raises(Exception, match="claims may be missing"):
        await claims.claim([Claim("e", b"0" * 16, b"{}")])
    await client.aclose()


async def sink_works(settings: RedisSettings) -> None:
    client = Redis.from_url(settings.address)
    store, names = FeatureStateStore(client), RedisStreamNames(client)
    await store.check_partitions(4)
    await store.position(0)
    await store.refused_between(0, 0, 10)
    assert await names.replace("table-0", None, "stream")
    assert await names.current("table-0") == "stream"
    await client.aclose()


async def ingestor_works(settings: RedisSettings) -> None:
    client = Redis.from_url(settings.address)
    cursors = CursorStore(client)
    await cursors.save("simtom/bnpl", Cursor(acknowledged=3))
    assert (await cursors.load("simtom/bnpl")).acknowledged == 3
    await cursors.rewind("simtom/bnpl")
    assert await cursors.load("simtom/bnpl") == Cursor(again=True)
    await client.aclose()


WORK: dict[str, Callable[[RedisSettings], Awaitable[None]]] = {
    "flit-features": features_work,
    "flit-scorer": scorer_works,
    "flit-sink": sink_works,
    "flit-ingestor": ingestor_works,
}


@pytest.mark.parametrize("user", list(WORK))
async def test_what_a_service_does_with_redis_is_within_its_rights(
    secured: Secured, administrator: Redis, user: str
) -> None:
    await WORK[user](secured.settings(user))
    assert [(entry["username"], entry["object"]) for entry in await administrator.acl_log()] == []


async def test_users_change_without_a_restart(secured: Secured, administrator: Redis, tmp_path: Path) -> None:
    """As when a password is taken back; what is connected with it stays so until it is cut off."""
    held = secured.client("flit-ledger")
    assert await held.ping()
    file = secured.valkey._users
    assert file is not None
    before = file.file.read_text()
    passwords = {name: [password] for name, password in PASSWORDS.items()} | {"flit-ledger": ["z" * 40]}
    try:
        file.file.write_text(users_file(passwords))
        await administrator.acl_load()
        assert await held.ping()
        assert await administrator.execute_command("CLIENT", "KILL", "USER", "flit-ledger")  # type: ignore[no-untyped-call]
        with pytest.raises(RedisAway):
            await held.ping()
        with pytest.raises(AuthenticationError):
            await held.ping()
    finally:
        file.file.write_text(before)
        await administrator.acl_load()
        await held.aclose()
