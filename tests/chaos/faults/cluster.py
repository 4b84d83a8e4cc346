"""Brokers: one that goes away or is full; of three, one or two."""

from __future__ import annotations

import asyncio
import resource
from collections.abc import Callable

from shared.contracts.identity import partition_of
from shared.contracts.topics import TRANSACTIONS
from tests.chaos.faults.fault import Fault
from tests.chaos.faults.lag import caught_up
from tests.chaos.world import Message, World


async def restart_kafka(world: World) -> None:
    await world.wait(0.0, 1.0)
    world.system.stack.kafka.kill()
    await world.wait(0.0, 3.0)
    await asyncio.to_thread(world.system.stack.kafka.start)


async def full_broker(world: World) -> None:
    """No file of the broker's may grow beyond what it is: what a full disk says to it. A purchase of ours tells whether
    it took something meanwhile: the broker's own log, where it would complain, is such a file as well."""
    (broker,) = world.system.stack.kafka.brokers.values()

    def fill() -> None:
        resource.prlimit(broker.pid, resource.RLIMIT_FSIZE, (1, 1))

    def make_room() -> None:
        world.system.stack.kafka.kill()
        world.system.stack.kafka.start()

    await world.wait(0.0, 1.0)
    taken = await _taken_meanwhile(world, fill, (3.0, 6.0), make_room)
    assert not taken, "the broker took a purchase while it had no room"


async def _taken_meanwhile(
    world: World, hit: Callable[[], None], lasts_s: tuple[float, float], mend: Callable[[], None]
) -> bool:
    """Whether a purchase was acknowledged that was sent after `hit`, and before `mend` some time later."""
    (key, first), (other, second) = world.purchases(f"meanwhile-{world.dice.getrandbits(32):08x}", 2)
    async with world.producer() as producer:
        await world.hand_over(producer, TRANSACTIONS.name, [Message(key, first)])  # it is connected, then
        hit()
        place = partition_of(other, world.system.kafka.partitions)
        sent = await producer.send(TRANSACTIONS.name, second, key=other, partition=place)
        await world.wait(*lasts_s)
        taken = sent.done() and sent.exception() is None
        await asyncio.to_thread(mend)
    await asyncio.gather(sent, return_exceptions=True)
    return taken


async def all_down(world: World) -> None:
    """Broker, Valkey and warehouse at once, and back in an order drawn by the seed."""
    parts = list(world.system.stack.parts.values())
    await world.wait(0.0, 1.0)
    for part in parts:
        part.kill()
    for part in world.dice.sample(parts, len(parts)):
        await world.wait(0.0, 2.0)
        await asyncio.to_thread(part.start)


async def lose_one_broker(world: World) -> None:
    await world.in_sync()
    broker = world.dice.choice(list(world.system.stack.kafka.brokers.values()))
    broker.kill()
    try:
        await world.works()  # with the two that are left
    finally:
        await asyncio.to_thread(world.system.stack.kafka.start)


async def roll_brokers(world: World) -> None:
    for broker in world.system.stack.kafka.brokers.values():
        await world.in_sync()
        await asyncio.to_thread(broker.stop)
        try:
            await world.works()
        finally:
            await asyncio.to_thread(world.system.stack.kafka.start)


async def lose_two_brokers(world: World) -> None:
    """Writing blocks, since one copy alone is no acknowledgement; when they are back, it goes on."""
    two = world.dice.sample(list(world.system.stack.kafka.brokers.values()), 2)

    def kill() -> None:
        for broker in two:
            broker.kill()

    taken = await _taken_meanwhile(world, kill, (4.0, 8.0), world.system.stack.kafka.start)
    assert not taken, "one broker of three took a purchase alone"


async def lose_brokers_in_turn(world: World) -> None:
    """Two, and when they are back, the one that was left: for a while it was the only one that clients knew."""
    brokers = list(world.system.stack.kafka.brokers.values())
    left = world.dice.choice(brokers)
    for broker in brokers:
        if broker is not left:
            broker.kill()
    await world.wait(4.0, 8.0)
    await asyncio.to_thread(world.system.stack.kafka.start)
    await world.in_sync()
    left.kill()
    try:
        await world.works()
    finally:
        await asyncio.to_thread(world.system.stack.kafka.start)


FAULTS: tuple[Fault, ...] = (
    Fault("restart-kafka", "kafka", restart_kafka),
    Fault("full-broker", "kafka", full_broker),
    Fault("all-down", "all", all_down, caught_up, seconds=45),
    Fault("lose-one-broker", "kafka", lose_one_broker, brokers=3),
    Fault("roll-brokers", "kafka", roll_brokers, brokers=3, seconds=60),
    Fault("lose-two-brokers", "kafka", lose_two_brokers, brokers=3),
    Fault("lose-brokers-in-turn", "kafka", lose_brokers_in_turn, brokers=3, seconds=60),
)
