from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import redis

from deploy.local.ports import free_port
from deploy.local.valkey import Valkey


@pytest.fixture
def valkey(tmp_path: Path) -> Iterator[Valkey]:
    """One that may be killed."""
    server = Valkey(tmp_path, free_port())
    try:
        server.start()
        yield server
    finally:
        server.kill()


def client(valkey: Valkey) -> redis.Redis:
    return redis.Redis.from_url(valkey.url)


def write_until_cut(valkey: Valkey, enough: list[int]) -> int:
    """Sets n = 1, 2, 3, …, each with a list entry, in one transaction; gives the last that was acknowledged."""
    acknowledged = 0
    connection = client(valkey)
    while True:
        with connection.pipeline(transaction=True) as both:
            both.set("n", acknowledged + 1)
            both.rpush("all", acknowledged + 1)
            try:
                both.execute()
            except redis.ConnectionError:
                return acknowledged
        acknowledged += 1
        enough[0] = acknowledged


@pytest.mark.parametrize("writes", [1, 500, 5000])
def test_every_acknowledged_write_survives_a_kill(valkey: Valkey, writes: int) -> None:
    seen = [0]
    with ThreadPoolExecutor(1) as pool:
        writing = pool.submit(write_until_cut, valkey, seen)
        valkey.process.wait_until(lambda: seen[0] >= writes, 60)
        valkey.kill()
        acknowledged = writing.result()
    valkey.start()
    connection = client(valkey)
    kept = int(connection.get("n") or 0)
    # The one that was under way may have been done without its answer having arrived.
    assert kept in (acknowledged, acknowledged + 1)
    assert [int(each) for each in connection.lrange("all", 0, -1)] == list(range(1, kept + 1))


def test_a_log_that_was_cut_in_the_middle_of_a_write_is_read_up_to_there(valkey: Valkey, tmp_path: Path) -> None:
    connection = client(valkey)
    connection.set("whole", "1")
    connection.set("cut", "x" * 1000)
    valkey.kill()
    log = next((tmp_path / "appendonlydir").glob("*.incr.aof"))
    with log.open("r+b") as file:
        file.truncate(log.stat().st_size - 500)
    valkey.start()
    assert connection.get("whole") == b"1"
    assert connection.get("cut") is None


def test_a_full_memory_refuses_writes_and_forgets_nothing(valkey: Valkey) -> None:
    connection = client(valkey)
    connection.set("kept", "1")
    connection.config_set("maxmemory", "1mb")
    with pytest.raises(redis.exceptions.OutOfMemoryError):
        for number in range(10_000):
            connection.set(f"k{number}", "x" * 1000)
    assert connection.get("kept") == b"1"
