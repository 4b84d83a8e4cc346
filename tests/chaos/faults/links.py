"""Connections that break, hang, lose what they carry, or are slow; on each link."""

from __future__ import annotations

from collections.abc import Callable

from tests.chaos.faults.fault import Fault, Inject, bounded_memory
from tests.chaos.faults.lag import written
from tests.chaos.proxy import Proxy
from tests.chaos.world import World

SLOW_S = 0.5
"""Of each piece, in each direction: a question and its answer take a second."""
SLOW_KAFKA_S = 0.1
"""A hop over Kafka is several questions, one after the other."""


def redis(world: World) -> Proxy:
    return world.redis_link


def warehouse(world: World) -> Proxy:
    return world.warehouse_link


def kafka(world: World) -> Proxy:
    return world.kafka_link


def source(world: World) -> Proxy:
    return world.source_link


Link = Callable[[World], Proxy]
ALL_SERVICES = ("features", "scorer", "sink", "ingestor")


def cut(link: Link) -> Inject:
    async def inject(world: World) -> None:
        for _ in range(world.dice.randint(3, 6)):
            link(world).cut()
            await world.wait(0.05, 0.8)

    return inject


def half_open(link: Link) -> Inject:
    """Whoever is connected has to find out alone that nobody is there any more: nothing is healed afterwards."""

    async def inject(world: World) -> None:
        await world.wait(0.0, 1.0)
        link(world).strand()

    return inject


def noticed(recovered: Inject = World.works) -> Inject:
    async def without_growing(world: World) -> None:
        async with bounded_memory(world, *ALL_SERVICES):
            await recovered(world)

    return without_growing


def slow(link: Link, delay_s: float = SLOW_S) -> Inject:
    async def inject(world: World) -> None:
        async with bounded_memory(world, *ALL_SERVICES):
            link(world).delay_s = delay_s
            await world.wait(5.0, 8.0)
        link(world).heal()

    return inject


def lose_answers(link: Link) -> Inject:
    """What was asked is done, and nobody hears of it: the hardest case of an exactly-once writer."""

    async def inject(world: World) -> None:
        await world.wait(0.0, 1.0)
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
    Fault("slow-warehouse", "bigquery", slow(warehouse), written),
    Fault("slow-kafka", "kafka", slow(kafka, SLOW_KAFKA_S)),
    Fault("slow-source", "ingestor", slow(source)),
    Fault("lose-redis-answers", "valkey", lose_answers(redis)),
    Fault("lose-warehouse-answers", "bigquery", lose_answers(warehouse), written),
    Fault("lose-kafka-answers", "kafka", lose_answers(kafka), seconds=40),
)
