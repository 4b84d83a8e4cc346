"""The faults, each with what undoes it. What has to hold afterwards is always the same: the ledger."""

from __future__ import annotations

import asyncio
import json
import resource
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import httpx
import redis

from shared.contracts.topics import OUTCOMES, TRANSACTIONS
from tests.chaos.world import World

SESSION_S = 10.0
"""After so long without a sign of life the group goes on without a process."""

Inject = Callable[[World], Awaitable[None]]


@dataclass(frozen=True)
class Fault:
    name: str
    service: str
    """Or part that it hits."""
    inject: Inject
    """Puts it in and takes it away again."""
    brokers: int = 1
    """That the system has to have for it."""


async def _until_another(world: World, service: str, pid: int) -> None:
    process = world.process(service)
    await world.until(lambda: process.running and process.pid != pid, f"{service} to be started again")


def kill(service: str) -> Inject:
    async def inject(world: World) -> None:
        await world.wait(0.0, 1.0)
        pid = world.process(service).pid
        world.process(service).kill()
        await _until_another(world, service, pid)

    return inject


def terminate(service: str) -> Inject:
    async def inject(world: World) -> None:
        await world.wait(0.0, 1.0)
        process = world.process(service)
        pid = process.pid
        await asyncio.to_thread(process.stop)
        assert process.exit_code == 0, f"{service} ended with {process.exit_code}"
        await _until_another(world, service, pid)

    return inject


def zombie(service: str) -> Inject:
    """Stopped past its session while another takes its partitions over, then awake again with what it had in hand."""

    async def inject(world: World) -> None:
        other = world.extra(service, "second")
        await world.wait(0.0, 1.0)
        world.process(service).pause()
        other.start()
        try:
            await asyncio.sleep(SESSION_S + world.dice.uniform(1.0, 3.0))
            world.process(service).resume()
            await world.works()
        finally:
            await asyncio.to_thread(other.stop)

    return inject


async def restart_kafka(world: World) -> None:
    await world.wait(0.0, 1.0)
    world.system.stack.kafka.kill()
    await world.wait(0.0, 3.0)
    await asyncio.to_thread(world.system.stack.kafka.start)


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
    with redis.Redis.from_url(world.system.stack.valkey.url) as client:
        client.flushall()


async def pause_valkey(world: World) -> None:
    world.system.stack.valkey.pause()
    await world.wait(2.0, 6.0)
    world.system.stack.valkey.resume()


async def cut_redis(world: World) -> None:
    for _ in range(world.dice.randint(3, 6)):
        world.redis_link.cut()
        await world.wait(0.05, 0.5)


async def lose_redis_answers(world: World) -> None:
    world.redis_link.swallows_answers = True
    await world.wait(1.0, 4.0)
    world.redis_link.heal()


async def slow_redis(world: World) -> None:
    world.redis_link.delay_s = 0.5
    await world.wait(4.0, 8.0)
    world.redis_link.heal()


async def cut_warehouse(world: World) -> None:
    for _ in range(world.dice.randint(3, 6)):
        world.warehouse_link.cut()
        await world.wait(0.05, 0.8)


async def lose_warehouse_answers(world: World) -> None:
    """The appends arrive, and nobody hears of it: the hardest case of an exactly-once writer."""
    world.warehouse_link.swallows_answers = True
    await world.wait(2.0, 5.0)
    world.warehouse_link.heal()


async def bad_inputs(world: World) -> None:
    name = f"bad-{world.dice.getrandbits(32):08x}"
    good = world.purchases(name, 60)
    wrong: list[tuple[bytes, bytes | None]] = []
    for number, (key, value) in enumerate(good[:12]):
        body = json.loads(value or b"{}")
        poison: list[bytes | None] = [
            b"{", b"", None, b"[1]", b"\xff\xfe", b'{"a": NaN}', b'{"a": 1, "a": 2}', (value or b"") + b"x",
            json.dumps(body | {"event_id": f"{name}-t{number}", "amount": "12"}).encode(),
            json.dumps(body | {"event_id": f"{name}-r{number}", "amount": -1}).encode(),
            json.dumps(body | {"event_id": f"{name}-z{number}", "occurred_at": "2026-06-01T00:00:00"}).encode(),
            json.dumps(body | {"event_id": f"{name}-c{number}", "currency": "XXX"}).encode(),
        ]  # fmt: skip
        wrong += [(key, each) for each in poison]
    records = [*good, *wrong]
    world.dice.shuffle(records)
    await world.produce(TRANSACTIONS.name, records)
    await world.produce(OUTCOMES.name, [(key, b"{") for key, _ in good[:10]])
    null: Any = None  # Kafka allows a header without a value
    await world.produce(TRANSACTIONS.name, [(good[0][0], b"{"), good[20]], headers=[("schema_version", null)])


async def repeats_and_latecomers(world: World) -> None:
    name = f"again-{world.dice.getrandbits(32):08x}"
    good = world.purchases(name, 120)
    late = world.purchases(f"{name}-late", 20, occurred_at="2026-01-05T10:00:00.000000Z")
    records = [*good, *good[:60], *late, *late[:10]]
    world.dice.shuffle(records)
    changed = [(key, (value or b"").replace(b"67.51", b"67.52")) for key, value in good[:5]]
    await world.produce(TRANSACTIONS.name, [*records, *changed])


async def schema_drift(world: World) -> None:
    name = f"drift-{world.dice.getrandbits(32):08x}"
    records = [
        *world.purchases(f"{name}-field", 20, loyalty={"tier": "gold", "since": 2019}),
        *world.purchases(f"{name}-enum", 20, product={"category": "groceries"}, device={"type": "fridge"}),
        *world.purchases(f"{name}-type", 20, device={"is_trusted": 1.0}),
    ]
    await world.produce(TRANSACTIONS.name, records)


async def burst(world: World) -> None:
    """Ten times the load for some seconds."""
    name = f"burst-{world.dice.getrandbits(32):08x}"
    await world.produce(TRANSACTIONS.name, world.purchases(name, 5000))


async def members_come_and_go(world: World) -> None:
    for service in ("features", "scorer", "sink"):
        other = world.extra(service, "guest")
        other.start()
        await world.wait(4.0, 6.0)
        await asyncio.to_thread(other.stop)


async def damaged_model(world: World) -> None:
    """The next model is cut, or its pointer half written: the one in service stays."""
    version = world.model
    path = world.registry.root / "models" / version / "model.onnx"
    whole, pointer = path.read_bytes(), (world.registry.root / "current").read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    (world.registry.root / "current").write_bytes(pointer[:-5])
    await world.wait(2.0, 3.0)
    path.write_bytes(whole)
    (world.registry.root / "current").write_bytes(pointer)


def wrong_clock(service: str) -> Inject:
    """An hour ahead, then an hour behind: nothing that is decided may depend on this machine's clock."""

    async def inject(world: World) -> None:
        for seconds in (3600, -3600):
            pid = world.process(service).pid
            with world.restarted_with(service, CHAOS_CLOCK_S=str(seconds)):
                world.process(service).kill()
                await _until_another(world, service, pid)
                await world.works()
        pid = world.process(service).pid
        world.process(service).kill()
        await _until_another(world, service, pid)

    return inject


async def full_broker(world: World) -> None:
    """No file of the broker's may grow beyond what it is: what a full disk says to it."""
    (broker,) = world.system.stack.kafka.brokers.values()
    await world.wait(0.0, 1.0)
    resource.prlimit(broker.pid, resource.RLIMIT_FSIZE, (1, 1))
    await world.wait(3.0, 6.0)
    world.system.stack.kafka.kill()  # as somebody would who has made room
    await asyncio.to_thread(world.system.stack.kafka.start)


async def full_valkey(world: World) -> None:
    """It refuses every write, and answers every read."""
    with redis.Redis.from_url(world.system.stack.valkey.url) as client:
        client.config_set("maxmemory-policy", "noeviction")
        client.config_set("maxmemory", 1)
        await world.wait(3.0, 6.0)
        client.config_set("maxmemory", 0)


async def warehouse_errors(world: World) -> None:
    """429, 500, ABORTED, and time-outs of appends that were carried out."""
    await asyncio.to_thread(world.warehouse_trouble.write_text, "0.6")
    await world.wait(6.0, 10.0)
    await asyncio.to_thread(world.warehouse_trouble.unlink)


CROWD = 1500
ANSWERS = frozenset({200, 429, 503})


async def rest_overload(world: World) -> None:
    """Many more checkouts at once than are let in: the others are told to come again, at once."""
    name = f"crowd-{world.dice.getrandbits(32):08x}"
    limits = httpx.Limits(max_connections=CROWD)
    async with httpx.AsyncClient(base_url=world.system.http, timeout=60, limits=limits) as http:

        async def ask(body: bytes | None) -> httpx.Response:
            return await http.post("/v1/decisions", content=body, headers={"Content-Type": "application/json"})

        answers = await asyncio.gather(*(ask(body) for _, body in world.purchases(name, CROWD)))
    statuses = {answer.status_code for answer in answers}
    assert statuses <= ANSWERS, f"statuses {statuses}"
    assert all("retry-after" in answer.headers for answer in answers if answer.status_code in (429, 503))


async def lose_one_broker(world: World) -> None:
    broker = world.dice.choice(list(world.system.stack.kafka.brokers.values()))
    broker.kill()
    await world.works()  # with the two that are left
    await asyncio.to_thread(world.system.stack.kafka.start)


async def roll_brokers(world: World) -> None:
    for broker in world.system.stack.kafka.brokers.values():
        await asyncio.to_thread(broker.stop)
        await world.works()
        await asyncio.to_thread(world.system.stack.kafka.start)


async def lose_two_brokers(world: World) -> None:
    """Writing blocks, since one copy alone is no acknowledgement; when they are back, it goes on."""
    for broker in world.dice.sample(list(world.system.stack.kafka.brokers.values()), 2):
        broker.kill()
    await world.wait(4.0, 8.0)
    await asyncio.to_thread(world.system.stack.kafka.start)


FAULTS: tuple[Fault, ...] = (
    *(Fault(f"kill-{name}", name, kill(name)) for name in ("ingestor", "features", "scorer", "sink")),
    *(Fault(f"terminate-{name}", name, terminate(name)) for name in ("ingestor", "features", "scorer", "sink")),
    *(Fault(f"zombie-{name}", name, zombie(name)) for name in ("features", "scorer", "sink")),
    Fault("restart-kafka", "kafka", restart_kafka),
    Fault("restart-valkey", "valkey", restart_valkey),
    Fault("restart-warehouse", "bigquery", restart_warehouse),
    Fault("flush-valkey", "valkey", flush_valkey),
    Fault("pause-valkey", "valkey", pause_valkey),
    Fault("cut-redis", "valkey", cut_redis),
    Fault("lose-redis-answers", "valkey", lose_redis_answers),
    Fault("slow-redis", "valkey", slow_redis),
    Fault("cut-warehouse", "bigquery", cut_warehouse),
    Fault("lose-warehouse-answers", "bigquery", lose_warehouse_answers),
    Fault("bad-inputs", "features", bad_inputs),
    Fault("repeats-and-latecomers", "features", repeats_and_latecomers),
    Fault("schema-drift", "features", schema_drift),
    Fault("burst", "features", burst),
    Fault("members-come-and-go", "all", members_come_and_go),
    Fault("damaged-model", "scorer", damaged_model),
    *(Fault(f"wrong-clock-{name}", name, wrong_clock(name)) for name in ("features", "scorer", "sink")),
    Fault("full-broker", "kafka", full_broker),
    Fault("full-valkey", "valkey", full_valkey),
    Fault("warehouse-errors", "bigquery", warehouse_errors),
    Fault("rest-overload", "scorer", rest_overload),
    Fault("lose-one-broker", "kafka", lose_one_broker, brokers=3),
    Fault("roll-brokers", "kafka", roll_brokers, brokers=3),
    Fault("lose-two-brokers", "kafka", lose_two_brokers, brokers=3),
)
BY_NAME = {fault.name: fault for fault in FAULTS}
