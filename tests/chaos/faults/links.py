"""Connections that break, hang, lose what they carry, or are slow; on each link."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import httpx

from shared.deciding.pipeline import Degraded
from tests.chaos.faults.fault import Fault, Inject, bounded_memory
from tests.chaos.faults.lag import written
from tests.chaos.proxy import Hit, Proxy
from tests.chaos.world import World

SLOW_S = 0.5
"""Of each piece, in each direction: a question and its answer take a second."""
SLOW_KAFKA_S = 0.1
"""A hop over Kafka is several questions, one after the other."""

TIME_OUT_MS, MOST_TIME_OUTS = 400, 3
"""Of the scorer for Redis: less than a slow link's round trip. A checkout asks several times, and must not wait for
each in vain."""
LATE_CHECKOUTS = 5


def redis(world: World) -> Proxy:
    return world.redis_link


def warehouse(world: World) -> Proxy:
    return world.warehouse_link


def kafka(world: World) -> Proxy:
    return world.kafka_link


def source(world: World) -> Proxy:
    return world.source_link


Link = Callable[[World], Proxy]
JSON = {"content-type": "application/json"}
ALL_SERVICES = ("features", "scorer", "sink", "ingestor")


@asynccontextmanager
async def felt(world: World, proxy: Proxy, hit: Hit) -> AsyncIterator[None]:
    """Fail afterwards where the proxy had nothing to do it to: who goes past it isn't hit."""
    before = proxy.hits[hit]
    yield
    await world.until(lambda: proxy.hits[hit] > before, f"some {hit}")


def cut(link: Link) -> Inject:
    async def inject(world: World) -> None:
        async with bounded_memory(world, *ALL_SERVICES), felt(world, link(world), Hit.CUT):
            for _ in range(world.dice.randint(3, 6)):
                link(world).cut()
                await world.wait(0.05, 0.8)

    return inject


def half_open(link: Link) -> Inject:
    """Whoever is connected has to find out alone that nobody is there any more: nothing is healed afterwards."""

    async def inject(world: World) -> None:
        await world.wait(0.0, 1.0)
        async with felt(world, link(world), Hit.STRANDED):
            link(world).strand()

    return inject


def noticed(recovered: Inject = World.works) -> Inject:
    async def without_growing(world: World) -> None:
        async with bounded_memory(world, *ALL_SERVICES):
            await recovered(world)

    return without_growing


def slow(link: Link, delay_s: float = SLOW_S) -> Inject:
    async def inject(world: World) -> None:
        async with bounded_memory(world, *ALL_SERVICES), felt(world, link(world), Hit.DELAYED):
            link(world).delay_s = delay_s
            await world.wait(5.0, 8.0)
        link(world).heal()

    return inject


async def slow_for_checkouts(world: World) -> None:
    """Redis takes longer than the scorer waits for it: a checkout soon gets the fallback's answer, which says so.
    Decisions of the stream wait."""
    name = f"late-{world.dice.getrandbits(32):08x}"
    async with world.started_again_with("scorer", SCORER__REDIS_TIMEOUT_MS=str(TIME_OUT_MS)):
        await world.until(world.system.supervisor.service("scorer").ready, "the scorer to be ready")
        await world.works()
        try:
            async with felt(world, world.redis_link, Hit.DELAYED):
                world.redis_link.delay_s = SLOW_S
                answers = [await _late_answer(world, f"{name}-{number}") for number in range(LATE_CHECKOUTS)]
        finally:
            world.redis_link.heal()
    await world.killed("scorer")
    for took_s, degraded in answers:
        assert degraded == Degraded.STATE_UNAVAILABLE, f"with Redis late, a checkout got {degraded}"
        assert took_s < MOST_TIME_OUTS * TIME_OUT_MS / 1000, f"a checkout waited {took_s:.1f} s for a late Redis"
    world.note(f"the slowest of {LATE_CHECKOUTS} checkouts took {max(answers)[0] * 1000:.0f} ms")


async def _late_answer(world: World, prefix: str) -> tuple[float, str | None]:
    """How long a checkout took, in seconds, and why the fallback decided it."""
    ((_, body),) = world.purchases(prefix, 1)
    async with httpx.AsyncClient(timeout=30) as http:
        began = time.monotonic()
        answer = await http.post(f"{world.system.http}/v1/decisions", content=body, headers=JSON)
        took_s = time.monotonic() - began
    assert answer.status_code == httpx.codes.OK, f"with Redis late, a checkout got {answer.status_code}"
    return took_s, answer.json()["degraded"]


def lose_answers(link: Link) -> Inject:
    """What was asked is done, and nobody hears of it: the hardest case of an exactly-once writer."""

    async def inject(world: World) -> None:
        await world.wait(0.0, 1.0)
        async with bounded_memory(world, *ALL_SERVICES), felt(world, link(world), Hit.SWALLOWED):
            link(world).swallows_answers = True
            await world.wait(1.0, 5.0)
        link(world).heal()

    return inject


FAULTS: tuple[Fault, ...] = (
    Fault("cut-redis", "valkey", cut(redis)),
    Fault("cut-warehouse", "bigquery", cut(warehouse), written),
    Fault("cut-kafka", "kafka", cut(kafka)),
    Fault("cut-source", "ingestor", cut(source)),
    Fault("half-open-redis", "valkey", half_open(redis), noticed(), seconds=30),
    Fault("half-open-warehouse", "bigquery", half_open(warehouse), noticed(written), seconds=40),
    Fault("half-open-kafka", "kafka", half_open(kafka), noticed(), seconds=70),
    Fault("half-open-source", "ingestor", half_open(source), noticed(), seconds=90),
    Fault("slow-redis", "valkey", slow(redis)),
    Fault("slow-redis-for-checkouts", "scorer", slow_for_checkouts, seconds=45),
    Fault("slow-warehouse", "bigquery", slow(warehouse), written),
    Fault("slow-kafka", "kafka", slow(kafka, SLOW_KAFKA_S)),
    Fault("slow-source", "ingestor", slow(source)),
    Fault("lose-redis-answers", "valkey", lose_answers(redis)),
    Fault("lose-warehouse-answers", "bigquery", lose_answers(warehouse), written),
    Fault("lose-kafka-answers", "kafka", lose_answers(kafka), seconds=40),
)
