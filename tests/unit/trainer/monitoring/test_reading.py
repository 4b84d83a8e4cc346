"""What the monitor asks the warehouse for."""

from __future__ import annotations

from typing import Any, cast

import pyarrow

from services.trainer.monitoring.reading import MonitorReads
from services.trainer.warehouse import Warehouse
from shared.feature_definitions.windows import MICROS_PER_DAY
from shared.warehouse import views
from tests.research.simulated import none_by_chance

AS_OF_US = 90 * MICROS_PER_DAY


class Asked:
    """A warehouse in which nothing was lent, that remembers what it was asked."""

    project = "test"

    def __init__(self) -> None:
        self.queries: list[str] = []

    def watched_until(self, as_of_us: int) -> int:
        return as_of_us

    def rows(self, sql: str) -> Any:
        self.queries.append(sql)
        names = ("occurred_us", "model_version", "probability", "amount", "currency", "explored_under", "defaulted")
        return pyarrow.table({name: [] for name in (*names, "mature_us", "source", "told", "told_us")})


def test_what_was_lent_is_told_by_outcomes_that_had_come_to_light_by_the_moment() -> None:
    warehouse = Asked()
    MonitorReads(cast(Warehouse, warehouse)).lent(1, 30, AS_OF_US, none_by_chance)
    [query] = warehouse.queries
    assert f"observed_at <= TIMESTAMP_MICROS({AS_OF_US})" in query
    assert views.TRAINING_EXAMPLES.id not in query, "the view has the latest outcome, a later correction included"
    assert "{" not in query.replace("{}", "")
