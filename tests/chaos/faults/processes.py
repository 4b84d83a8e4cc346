"""Processes that die, are told to end, or stand still."""

from __future__ import annotations

import asyncio
import signal
import time

from shared.contracts.rejections import RejectionReason
from shared.contracts.topics import TRANSACTIONS
from tests.chaos.controls.fault_points import PLACES, Deed, Order, give
from tests.chaos.faults.fault import Fault, Inject
from tests.chaos.faults.lag import caught_up, commits_move, written
from tests.chaos.faults.storage import flush_valkey
from tests.chaos.world import GRACE_S, World

SESSION_S = 10.0
"""After so long without a sign of life the group goes on without a process."""

SERVICES = ("ingestor", "features", "scorer", "sink")
GROUPS = ("features", "scorer", "sink")

AHEAD = {"scorer": frozenset({RejectionReason.FUTURE.value})}
"""What a purchase of now is refused for where the clock is behind: at the REST door no other clock tells."""

MOST_PASSES = 20
"""Of a point, until the process dies there."""
TAKEOVERS = 8
"""The same of a point that is passed at a start only: once for each table and partition."""

IN_HAND = {"scorer": "after-claim", "sink": "after-append"}
"""The point at which a process is stopped that is to be a zombie: with work in hand that another will have done."""
REGULARS = 20
"""Customers, who buy before a zombie stands still, meanwhile, and after it."""

STALL_S = 8.0
HANGS = {"features": "before-state-write", "scorer": "after-claim", "sink": "after-append"}

HISTORY_BATCHES, HISTORY_S = 10, 120.0
"""Of three days in batches of fifty there are a dozen; they take seconds."""

VISITS, STAY_S = 4, 5.0
"""How often a guest joins each group, and how long it stays, and stays away."""


def kill(service: str) -> Inject:
    async def inject(world: World) -> None:
        await world.wait(0.0, 1.0)
        await world.killed(service)

    return inject


def kill_at(service: str, point: str) -> Inject:
    """Between two steps of its work: which pass of the point it is, the seed draws."""

    async def inject(world: World) -> None:
        pid = world.process(service).pid
        at_start = point == "after-stream-stored"
        order = give(world.points, service, Order(point, world.dice.randint(1, TAKEOVERS if at_start else MOST_PASSES)))
        if at_start:
            await world.killed(service)
            pid = world.process(service).pid
        await world.until(lambda: not order.exists(), f"{service} to die {point}")
        await world.started_again(service, pid)

    return inject


async def kill_history(world: World) -> None:
    """An ingestor of history dies within a day; started again, it goes on from its cursor, and comes to its end."""
    points = world.data_dir / f"points-{world.dice.getrandbits(32):08x}"
    points.mkdir()
    give(points, "ingestor", Order("after-send", world.dice.randint(1, HISTORY_BATCHES)))
    history = world.extra(
        *("ingestor", "history", "history", "--start", "2026-03-02", "--end", "2026-03-04"),
        *("--daily", "200", "--seed", str(world.dice.randint(1, 1 << 20))),
        INGESTOR__BATCH_LINES="50",
        CHAOS_POINTS=str(points),
    ).process
    for status in (-signal.SIGKILL, 0):
        history.start()
        ended = await asyncio.to_thread(history.wait, HISTORY_S)
        assert ended == status, f"the ingestor of history ended with {ended}, not {status}"


def terminate(service: str) -> Inject:
    async def inject(world: World) -> None:
        await world.wait(0.0, 1.0)
        process = world.process(service)
        pid = process.pid
        began = time.monotonic()
        await asyncio.to_thread(process.stop)
        took = time.monotonic() - began
        assert process.exit_code == 0, f"{service} ended with {process.exit_code} after {took:.1f} s of {GRACE_S:.0f}"
        await world.started_again(service, pid)

    return inject


def zombie(service: str) -> Inject:
    """Stopped with work in hand, past its session, while another takes its partitions over and does that work; then
    awake again, where it was."""

    async def inject(world: World) -> None:
        other, paused = world.extra(service, "second"), world.process(service)
        order = give(
            world.points, service, Order(IN_HAND[service], world.dice.randint(1, MOST_PASSES), Deed.STAND_STILL)
        )
        try:
            await world.until(lambda: not order.exists(), f"{service} to stand still {IN_HAND[service]}")
            other.process.start()
            await asyncio.sleep(SESSION_S + world.dice.uniform(1.0, 3.0))
            # Else it would come back to what nobody has taken, and be no zombie.
            await world.until(other.service.ready, f"another {service} to be ready")
            await commits_move(world, f"flit-{service}")
            paused.resume()
            await world.works()
        finally:
            paused.resume()
            await asyncio.to_thread(other.process.stop)

    return inject


async def zombie_without_names(world: World) -> None:
    """A sink that is a zombie some time after Redis lost the names of its streams: whoever takes over has to know which
    one to seal all the same."""
    await flush_valkey(world)
    await written(world)
    await zombie("sink")(world)


async def zombie_with_states(world: World) -> None:
    """The same with states in hand that it was about to write: were they written once it is awake, what its customers
    have bought meanwhile would be gone from them, as their next purchases would tell."""
    name = f"regular-{world.dice.getrandbits(32):08x}"
    regulars = world.purchases(name, 3 * REGULARS)
    before, meanwhile, after = (regulars[start : start + REGULARS] for start in range(0, len(regulars), REGULARS))
    features, ingestor = world.process("features"), world.process("ingestor")
    other = world.extra("features", "second").process
    ingestor.pause()  # the next states to be written are the regulars'
    try:
        await caught_up(world)
        order = give(world.points, "features", Order("before-state-write", 1, Deed.STAND_STILL))
        await world.produce(TRANSACTIONS.name, before)
        await world.until(lambda: not order.exists(), "features to stand still")
    finally:
        ingestor.resume()
    other.start()
    try:
        await world.produce(TRANSACTIONS.name, meanwhile)
        await caught_up(world)
        features.resume()
        await world.works()
        await world.produce(TRANSACTIONS.name, after)
        await world.works()
    finally:
        features.resume()
        await asyncio.to_thread(other.stop)


def hang(service: str) -> Inject:
    """A step that never ends: its watchdog ends the process, and says why; whoever started it starts it again."""

    async def inject(world: World) -> None:
        async with world.started_again_with(service, KAFKA__STALL_SECONDS=str(STALL_S)):
            await back(service)(world)
            pid, said = world.process(service).pid, len(world.system.log_of(service))
            order = give(world.points, service, Order(HANGS[service], world.dice.randint(1, MOST_PASSES), Deed.HANG))
            await world.until(lambda: not order.exists(), f"{service} to hang {HANGS[service]}")
            began = time.monotonic()
            await world.started_again(service, pid)
            world.note(f"ended after {time.monotonic() - began:.1f} s, with {STALL_S:.0f} s to stall")
            assert "Stalled" in world.system.log_of(service)[said:], f"{service} ended, and its log doesn't say why"
            await back(service)(world)
        await world.killed(service)

    return inject


async def members_come_and_go(world: World) -> None:
    """A guest in each group, without a name that would keep its place: the group deals out anew each time."""

    async def visit(service: str) -> None:
        guest = world.extra(service, "guest", KAFKA__GROUP_INSTANCE_ID="")
        for _ in range(VISITS):
            guest.process.start()
            try:
                await world.until(guest.service.ready, f"a guest of {service} to be ready")
                await asyncio.sleep(STAY_S)
            finally:
                await asyncio.to_thread(guest.process.stop)
            assert guest.process.exit_code == 0, f"a guest of {service} ended with {guest.process.exit_code}"
            await asyncio.sleep(STAY_S)

    await asyncio.gather(*(visit(service) for service in GROUPS))


def wrong_clock(service: str) -> Inject:
    """An hour ahead, then an hour behind: nothing that is decided may depend on this machine's clock."""

    async def inject(world: World) -> None:
        for seconds in world.dice.sample((3600, -3600), 2):
            async with world.started_again_with(service, CHAOS_CLOCK_S=str(seconds)):
                await back(service)(world)
                _clock_was_moved(world, service, seconds)
        await world.killed(service)

    return inject


def _clock_was_moved(world: World, service: str, seconds: int) -> None:
    told, real = map(float, (world.clocks / str(world.process(service).pid)).read_text().split())
    assert abs(told - real - seconds) < 1, f"the clock of {service} was {told - real:.0f} s ahead, not {seconds}"


def back(service: str) -> Inject:
    """What tells that a service does its work again."""
    return written if service == "sink" else World.works


FAULTS: tuple[Fault, ...] = (
    *(Fault(f"kill-{name}", name, kill(name), back(name)) for name in SERVICES),
    *(
        Fault(f"kill-{name}-{place.point}", name, kill_at(name, place.point), back(name))
        for name in SERVICES
        for place in PLACES[name]
    ),
    Fault("kill-history-after-send", "ingestor", kill_history),
    *(Fault(f"terminate-{name}", name, terminate(name), back(name)) for name in SERVICES),
    Fault("zombie-features", "features", zombie_with_states, seconds=45),
    *(Fault(f"zombie-{name}", name, zombie(name), back(name), seconds=45) for name in IN_HAND),
    Fault("zombie-sink-after-flush", "sink", zombie_without_names, written, seconds=60),
    *(Fault(f"hang-{name}", name, hang(name), back(name), seconds=45) for name in HANGS),
    *(
        Fault(
            f"wrong-clock-{name}",
            name,
            wrong_clock(name),
            back(name),
            seconds=45,
            refusals=AHEAD.get(name, frozenset()),
        )
        for name in SERVICES
    ),
    Fault("members-come-and-go", "all", members_come_and_go, caught_up, seconds=110),
)
