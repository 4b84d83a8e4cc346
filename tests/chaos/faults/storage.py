"""Valkey and the warehouse: gone for a while, without what they held, or full."""

from __future__ import annotations

import asyncio
import resource
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import redis

from deploy.local.ports import LOOPBACK, free_port
from deploy.local.valkey import Valkey
from shared.contracts.topics import FEATURES
from tests.chaos.faults.fault import Fault
from tests.chaos.faults.lag import written
from tests.chaos.world import World

SHORTEST_TAIL, LONGEST_TAIL = 20_000, 200_000
"""Bytes of Valkey's log that are cut off: from some batches to some seconds of them."""
REBUILT = "flit_features_rebuilt_records_total{"


@asynccontextmanager
async def noticed(world: World) -> AsyncIterator[None]:
    """Fail afterwards where features made no state anew: then nothing was lost, or nobody saw it."""
    before = _taken_in_again(world)
    yield
    await world.until(lambda: _taken_in_again(world) > before, "states to be made anew")


def _taken_in_again(world: World) -> float:
    """Records, by the features service's own count."""
    return sum(value for name, value in world.metrics("features").items() if name.startswith(REBUILT))


async def restart_valkey(world: World) -> None:
    world.system.stack.valkey.kill()
    await world.wait(0.0, 3.0)
    await asyncio.to_thread(world.system.stack.valkey.start)


async def restart_warehouse(world: World) -> None:
    world.system.stack.bigquery.kill()
    await world.wait(0.0, 3.0)
    await asyncio.to_thread(world.system.stack.bigquery.start)


async def flush_valkey(world: World) -> None:
    await world.wait(0.0, 1.0)
    async with noticed(world):
        with redis.Redis.from_url(world.system.stack.valkey.url) as client:
            client.flushall()


async def pause_valkey(world: World) -> None:
    world.system.stack.valkey.pause()
    await world.wait(2.0, 6.0)
    world.system.stack.valkey.resume()


async def cut_valkey_log(world: World) -> None:
    """It comes back as it was a while ago: states, positions, claims and names of streams, all of an earlier moment."""
    await world.wait(0.0, 1.0)
    valkey = world.system.stack.valkey
    valkey.kill()
    log = valkey.log_files()[-1]
    tail = world.dice.randint(SHORTEST_TAIL, LONGEST_TAIL)
    with log.open("r+b") as file:
        file.truncate(max(0, log.stat().st_size - tail))
    async with noticed(world):
        await asyncio.to_thread(valkey.start)


async def promote_replica(world: World) -> None:
    """The primary dies, and a replica that lagged behind takes over: what it hadn't got yet is lost."""
    primary, port = world.system.stack.valkey, free_port()
    replica = Valkey(world.data_dir / "stack" / f"valkey-{port}", port)
    await asyncio.to_thread(replica.start)
    with redis.Redis.from_url(replica.url) as client:
        client.replicaof(LOOPBACK, str(urlsplit(primary.url).port))
        await world.until(lambda: client.info("replication")["master_link_status"] == "up", "the replica to follow")
        await world.wait(0.0, 1.0)
        client.replicaof("NO", "ONE")  # from here on it lags
    await world.log.grows(FEATURES.name, world.dice.randint(1, 100))
    async with noticed(world):
        primary.kill()
        world.system.stack.valkey = replica
        world.redis_link.target = port
        world.redis_link.cut()


async def full_valkey(world: World) -> None:
    """It refuses every write, and answers every read."""
    with redis.Redis.from_url(world.system.stack.valkey.url) as client:
        before = _refused(client)
        client.config_set("maxmemory-policy", "noeviction")
        client.config_set("maxmemory", 1)
        await world.wait(3.0, 6.0)
        client.config_set("maxmemory", 0)
        refused = _refused(client) - before
    assert refused > 0, "it was full, and nobody's write was refused"
    world.note(f"{refused} writes refused")


async def full_valkey_disk(world: World) -> None:
    """No file of its may grow: what a full disk says to it. It can't write its log, so it takes no write until it
    can, which it tries by itself."""
    valkey = world.system.stack.valkey
    unlimited = resource.RLIM_INFINITY
    with redis.Redis.from_url(valkey.url) as client:
        before = _refused(client, "MISCONF")
        resource.prlimit(valkey.process.pid, resource.RLIMIT_FSIZE, (1, unlimited))
        await world.wait(3.0, 6.0)
        resource.prlimit(valkey.process.pid, resource.RLIMIT_FSIZE, (unlimited, unlimited))
        refused = _refused(client, "MISCONF") - before
    assert refused > 0, "its disk was full, and nobody's write was refused"
    world.note(f"{refused} writes refused")


def _refused(client: redis.Redis, why: str = "OOM") -> int:
    """Writes since its start that it had no room for, by its own count."""
    counted = client.info("errorstats").get(f"errorstat_{why}", {"count": 0})
    return int(counted["count"])


async def warehouse_errors(world: World) -> None:
    """429, 500, ABORTED, and time-outs of appends that were carried out."""
    before = _tried_again(world)
    await asyncio.to_thread(world.warehouse_trouble.write_text, "0.6")
    try:
        await world.wait(6.0, 10.0)
        await world.until(lambda: _tried_again(world) > before, "an append to fail")
    finally:
        await asyncio.to_thread(world.warehouse_trouble.unlink)


def _tried_again(world: World) -> float:
    """Appends that failed, by the sink's own count."""
    return sum(
        value for name, value in world.metrics("sink").items() if name.startswith("flit_sink_append_failures_total{")
    )


FAULTS: tuple[Fault, ...] = (
    Fault("restart-valkey", "valkey", restart_valkey),
    Fault("restart-warehouse", "bigquery", restart_warehouse, written),
    Fault("flush-valkey", "valkey", flush_valkey),
    Fault("pause-valkey", "valkey", pause_valkey),
    Fault("cut-valkey-log", "valkey", cut_valkey_log),
    Fault("promote-replica", "valkey", promote_replica),
    Fault("full-valkey", "valkey", full_valkey),
    Fault("full-valkey-disk", "valkey", full_valkey_disk),
    Fault("warehouse-errors", "bigquery", warehouse_errors, written),
)
