"""A producer gone wrong: its topic is left alone for a while, the other goes on, and nothing is lost."""

from __future__ import annotations

from shared.contracts.topics import OUTCOMES, TRANSACTIONS
from tests.integration.features.conftest import Rig, until
from tests.integration.features.streams import outcome, poison, purchase

BAD = 400
LIMIT = {
    "FEATURES__REFUSALS_PER_MINUTE": "50",
    "FEATURES__MAX_BATCH": "20",
    "FEATURES__HALT_SECONDS": "4",
}
HALTED = f'flit_features_halted{{topic="{TRANSACTIONS.name}"}}'


async def test_a_topic_of_refusals_is_left_alone_and_taken_up_again_until_it_is_through(rig: Rig) -> None:
    features = await rig.start_ready(**LIMIT)
    await rig.send([purchase(0), *[poison()] * BAD, purchase(1)])

    async def is_halted() -> bool:
        return await features.metric(HALTED) == 1

    await until(is_halted)
    letters = len(await rig.letters())
    assert 50 <= letters < BAD
    await rig.send([outcome(0)])

    async def outcomes_went_on() -> bool:
        return sum((await rig.ends(OUTCOMES.name)).values()) == sum(
            position.outcomes + 1 for position in (await rig.positions()).values()
        )

    await until(outcomes_went_on)
    assert len(await rig.letters()) < BAD

    await until(rig.has_caught_up)
    offsets = [(letter["partition"], letter["offset"]) for letter in await rig.letters()]
    assert len(offsets) == len(set(offsets)) == BAD
    assert {vector["event_id"] for vector in await rig.vectors()} == {"event-0", "event-1"}
    assert len(features.events("topic_halted")) >= 2
    assert await features.terminate() == 0


async def test_a_topic_that_is_halted_does_not_hold_up_the_stop(rig: Rig) -> None:
    features = await rig.start_ready(**LIMIT | {"FEATURES__HALT_SECONDS": "3600"})
    await rig.send([poison()] * BAD)

    async def is_halted() -> bool:
        return await features.metric(HALTED) == 1

    await until(is_halted)
    assert await features.terminate() == 0
    assert len(await rig.letters()) < BAD
