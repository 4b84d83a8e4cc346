"""Some faults of `make alerts`, by a real Prometheus that watches the running system: the quick ones."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.alerts.faults import QUICK
from tests.alerts.floor import Floor
from tests.alerts.run import run
from tests.system.prometheus import needed

pytestmark = [pytest.mark.timeout(1200), needed]


@pytest.fixture(scope="module")
def floor(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Floor]:
    with Floor(tmp_path_factory.mktemp("alerts"), whole=False) as running:
        yield running


async def test_an_alert_fires_with_its_fault_and_clears_after_it(floor: Floor) -> None:
    outcomes = await run(floor, QUICK, print)
    assert [outcome.row() for outcome in outcomes if not outcome.passed] == []
    assert {outcome.rule.alert for outcome in outcomes} == {alert for fault in QUICK for alert in fault.alerts}
