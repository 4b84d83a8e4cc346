"""Negative controls: a safeguard that is switched off (tests/chaos/controls), what it guards against, and which of the
ledger's checks have to find that."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from shared.contracts.topics import TRANSACTIONS
from tests.chaos.faults import processes
from tests.chaos.faults.fault import Inject
from tests.chaos.faults.lag import written
from tests.chaos.world import World

KILLS_UNDER_WAY = 3
"""Between two lingers of the control's producer one of them hits nothing; three in a row don't."""


@dataclass(frozen=True)
class Control:
    service: str
    """Whose safeguard it is."""
    harm: Inject
    breaks: tuple[str, ...]
    """The checks that have to fail: a ledger that finds something else only hasn't understood what happened."""

    def missed(self, invariants: Mapping[str, bool | None]) -> list[str]:
        """Which of the checks didn't find it. One that couldn't tell hasn't."""
        return [name for name in self.breaks if invariants.get(name) is not False]


async def repeat_purchases(world: World) -> None:
    records = world.purchases("control", 40)
    await world.produce(TRANSACTIONS.name, records)
    await world.works()
    await world.produce(TRANSACTIONS.name, records)
    await world.produce(TRANSACTIONS.name, world.purchases("control-after", 1))
    later = world.purchases("control", 60)[40:]
    await world.produce(TRANSACTIONS.name, later)


def kill_in_flight(service: str) -> Inject:
    async def harm(world: World) -> None:
        for _ in range(KILLS_UNDER_WAY):
            await world.works()
            await world.wait(0.0, 1.0)
            world.process(service).kill()

    return harm


async def decide_without_a_model(world: World) -> None:
    """A scorer that is started again over an empty registry: its fallback decides."""
    empty = world.data_dir / "no-models"
    empty.mkdir()
    async with world.started_again_with("scorer", MODEL_REGISTRY__URI=str(empty)):
        await world.works()


async def write_again(world: World) -> None:
    """A sink that is started again, and doesn't ask the tables how far the one before it got."""
    await written(world)  # so that there are rows
    await world.killed("sink")
    await world.until(world.system.supervisor.service("sink").ready, "the sink to be ready")
    await written(world)


CONTROLS = {
    "no-deduplication": Control("features", repeat_purchases, ("P4",)),
    # A vector that is lost, and its purchase committed: neither vector nor letter, and so no decision.
    "no-acknowledgements": Control("features", kill_in_flight("features"), ("P2", "P5", "P6")),
    "no-acknowledgements-of-events": Control("ingestor", kill_in_flight("ingestor"), ("P1",)),
    "no-fencing": Control("features", processes.zombie_with_states, ("P4",)),
    # Dies with decisions that are sent and not committed; its successor decides them anew, at another time.
    "no-claims": Control("scorer", processes.kill_at("scorer", "after-send"), ("P2",)),
    "no-admission": Control("scorer", decide_without_a_model, ("P8",)),
    "no-last-row": Control("sink", write_again, ("P3",)),
}
