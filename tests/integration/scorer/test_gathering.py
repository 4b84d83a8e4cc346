"""Many small questions to a real Valkey on one connection."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import cast

import pytest
from redis.asyncio import Redis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError, ResponseError
from redis.exceptions import TimeoutError as RedisTimeout

from deploy.local.ports import free_port
from deploy.local.valkey import Valkey
from services.scorer.gathering import GatheringRedis
from shared.redis_primary import leaving_replicas
from tests.integration.scorer.conftest import until

pytestmark = pytest.mark.integration


@pytest.fixture
async def client(valkey: Valkey, tmp_path: Path) -> AsyncIterator[GatheringRedis]:
    made = cast(GatheringRedis, GatheringRedis.from_url(valkey.url, socket_timeout=5))
    yield made
    await made.aclose()


async def _commands_and_reads(client: GatheringRedis) -> tuple[int, int]:
    info = await client.info("stats")
    return int(info["total_commands_processed"]), int(info["total_reads_processed"])


async def test_everyone_gets_the_answer_to_their_own_question(client: GatheringRedis, unique: str) -> None:
    await asyncio.gather(*(client.set(f"{unique}:{i}", i) for i in range(200)))
    answers = await asyncio.gather(*(client.get(f"{unique}:{i}") for i in range(200)))
    assert answers == [str(i).encode() for i in range(200)]
    assert await client.mget([f"{unique}:1", f"{unique}:none"]) == [b"1", None]


async def test_questions_of_one_moment_travel_together(client: GatheringRedis, unique: str) -> None:
    commands, reads = await _commands_and_reads(client)
    await asyncio.gather(*(client.set(f"{unique}:{i}", i) for i in range(100)))
    commands_after, reads_after = await _commands_and_reads(client)
    assert commands_after - commands >= 100
    assert reads_after - reads < 20


async def test_an_error_is_that_of_its_own_command_alone(client: GatheringRedis, unique: str) -> None:
    await client.set(unique, "text")
    answers = await asyncio.gather(
        client.get(unique), client.lpush(unique, "x"), client.get(unique), return_exceptions=True
    )
    assert (answers[0], answers[2]) == (b"text", b"text")
    assert isinstance(answers[1], ResponseError)


async def test_of_many_who_set_at_once_one_wins_and_the_others_hear_who(client: GatheringRedis, unique: str) -> None:
    held = await asyncio.gather(*(client.set(unique, i, nx=True, get=True, px=60_000) for i in range(50)))
    assert held[0] is None
    assert set(held[1:]) == {b"0"}


async def test_a_late_answer_is_a_time_out_and_the_next_question_is_answered(
    client: GatheringRedis, valkey: Valkey, unique: str
) -> None:
    await client.set(unique, "held")
    client.patience_s = 0.1
    await asyncio.to_thread(valkey.pause)
    try:
        with pytest.raises(RedisTimeout):
            await client.get(unique)
        with pytest.raises(RedisTimeout):
            await client.get(unique)
    finally:
        await asyncio.to_thread(valkey.resume)
    client.patience_s = 5.0
    assert await client.get(unique) == b"held"


async def test_a_connection_without_answers_is_given_up_and_a_new_one_made(
    client: GatheringRedis, valkey: Valkey, unique: str
) -> None:
    await client.set(unique, "held")
    before = await client.client_id()
    client.patience_s, client.reconnect_s = 5.0, 0.1
    await asyncio.to_thread(valkey.pause)
    try:
        with pytest.raises(RedisConnectionError):
            await client.get(unique)
    finally:
        await asyncio.to_thread(valkey.resume)
    client.reconnect_s = 5.0
    assert await client.get(unique) == b"held"
    assert await client.client_id() != before


async def test_a_connection_that_was_closed_between_two_questions_is_made_anew(
    client: GatheringRedis, valkey: Valkey, unique: str
) -> None:
    await client.set(unique, "held")
    mine = await client.client_id()
    other = Redis.from_url(valkey.url)
    await other.client_kill_filter(_id=str(mine))
    await other.aclose()
    kept = client._kept
    assert kept is not None

    async def closed() -> bool:
        return not kept.is_connected or await kept.can_read()

    await until(closed)
    assert await client.get(unique) == b"held"
    assert await client.client_id() != mine


async def test_a_connection_that_was_reset_between_two_questions_is_made_anew(
    client: GatheringRedis, unique: str
) -> None:
    """Nothing comes over one that was reset, not even its end."""
    await client.set(unique, "held")
    mine = await client.client_id()
    kept = client._kept
    assert kept is not None and kept._writer is not None and kept._reader is not None
    kept._reader.set_exception(ConnectionResetError("by the other side"))  # as asyncio does it
    assert await client.get(unique) == b"held"
    assert await client.client_id() != mine


async def test_an_answer_that_came_while_our_own_loop_was_busy_is_not_late(client: GatheringRedis, unique: str) -> None:
    await client.set(unique, "held")
    client.patience_s = 0.4

    async def hog() -> None:
        await asyncio.sleep(0)
        deadline = asyncio.get_running_loop().time() + 0.8
        while asyncio.get_running_loop().time() < deadline:
            pass

    answer, _ = await asyncio.gather(client.get(unique), hog())
    assert answer == b"held"


async def test_a_dead_server_is_an_error_for_everyone_and_not_a_wait(unique: str) -> None:
    dead = cast(GatheringRedis, GatheringRedis.from_url(f"redis://127.0.0.1:{free_port()}/0"))
    answers = await asyncio.gather(*(dead.get(unique) for _ in range(5)), return_exceptions=True)
    assert all(isinstance(answer, RedisError) for answer in answers)
    await dead.aclose()


async def test_a_primary_that_has_become_a_replica_is_left(tmp_path: Path, unique: str) -> None:
    """It goes on answering look-ups, and refuses every write: whoever keeps the connection never finds the new one."""
    server = Valkey(tmp_path / "switched", free_port())
    server.start()
    client = leaving_replicas(cast(GatheringRedis, GatheringRedis.from_url(server.url, socket_timeout=5)))
    try:
        await client.set(unique, "1")
        before = await client.client_id()
        await client.execute_command("REPLICAOF", "127.0.0.1", str(free_port()))
        script = "return redis.call('SET', KEYS[1], '2')"
        for write in (client.set(unique, "2"), client.eval(script, 1, unique)):
            with pytest.raises(RedisConnectionError, match="no primary any more"):
                await write
        assert await client.client_id() != before
        await client.execute_command("REPLICAOF", "NO", "ONE")
        await client.set(unique, "3")
    finally:
        await client.aclose()
        server.stop()
