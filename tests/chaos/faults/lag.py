"""How far the services have come with the log, as their committed offsets tell."""

from __future__ import annotations

import time
from collections.abc import Sequence

from shared.contracts.topics import ALL, FEATURES, OUTCOMES, TRANSACTIONS, Topic
from tests.chaos.world import World
from tests.e2e.system import PATIENCE_SECONDS, until

Inputs = tuple[str, Sequence[Topic]]
"""A group, and what it reads."""

SINK: Inputs = ("flit-sink", ALL)
GROUPS: tuple[Inputs, ...] = (
    ("flit-features", (TRANSACTIONS, OUTCOMES)),
    ("flit-scorer", (FEATURES,)),
    SINK,
)
"""In the order of the stream: what one has done with is there for the next."""


async def caught_up(world: World, within_s: float = PATIENCE_SECONDS) -> None:
    """Every service has done with what lay there when this began."""
    await _done_with(world, GROUPS, within_s)


async def written(world: World) -> None:
    """The sink has written what lay there when this began. That decisions go on says nothing of the sink: they don't
    pass through it."""
    await _done_with(world, (SINK,), PATIENCE_SECONDS)


async def commits_move(world: World, group: str) -> None:
    """Wait until the group has committed something beyond what it has committed by now."""
    async with world.reader() as reader:
        # By name: else a coordinator that is moving would pass for nothing committed, and anything for more.
        places = [place for topic in dict(GROUPS)[group] for place in await reader.ends(topic.name)]
        before = await reader.committed(group, places)

        async def moved() -> bool:
            now = await reader.committed(group, places)
            return any(offset > before.get(place, 0) for place, offset in now.items())

        await until(moved, f"{group} to commit")


async def _done_with(world: World, groups: Sequence[Inputs], within_s: float) -> None:
    deadline = time.monotonic() + within_s
    async with world.reader() as reader:
        for group, inputs in groups:
            ends = {place: end for topic in inputs for place, end in (await reader.ends(topic.name)).items()}
            lag = await reader.caught_up(group, ends, deadline)
            assert not lag, f"{group} still lacks {sum(lag.values())} records after {within_s:.0f} s"
