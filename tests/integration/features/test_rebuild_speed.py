"""How long a rebuild takes; `-s` shows the figure that docs/operations/recovery.md gives."""

from __future__ import annotations

import random
import time

import pytest

from tests.integration.features.conftest import Rig, until
from tests.integration.features.streams import outcome, purchase
from tests.integration.features.test_rebuild import whole

PURCHASES, CUSTOMERS = 50_000, 3_000
FEWEST_A_SECOND = 1_500
"""A quarter of what two cores do: fewer, and a rebuild of a million purchases takes longer than a lunch break."""


@pytest.mark.slow
@pytest.mark.timeout(600)
async def test_a_rebuild_takes_thousands_of_records_a_second(rig: Rig) -> None:
    draw = random.Random(1)
    numbers = range(PURCHASES)
    for start in numbers[::1000]:
        customers = {number: draw.randrange(CUSTOMERS) for number in numbers[start : start + 1000]}
        await rig.send([purchase(number, customer) for number, customer in customers.items()])
        await rig.send([outcome(number, customer) for number, customer in customers.items() if number % 2])
    await rig.start()
    await until(rig.has_caught_up, 300)
    await rig.store._redis.flushall()
    started = time.monotonic()
    await until(lambda: whole(rig), 300)
    rate = 1.5 * PURCHASES / (time.monotonic() - started)
    print(f"{rate:.0f} records a second")
    assert rate > FEWEST_A_SECOND
