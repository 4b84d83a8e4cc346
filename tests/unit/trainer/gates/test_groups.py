"""What is read of the warehouse for the fairness gate."""

from __future__ import annotations

import json

import numpy as np
import pyarrow

from services.trainer.gates.groups import applications_of
from tests.unit.trainer.gates.population import population
from tests.unit.trainer.synthetic import DAY_US


def read(occurred_us: list[int], names: tuple[str, ...]) -> pyarrow.Table:
    """As the warehouse answers, in no order; each purchase tells its place in its first feature."""
    rows = range(len(occurred_us))
    return pyarrow.table({
        "event_id": [f"event-{row}" for row in rows],
        "customer_id": [f"cust-{row}" for row in rows],
        "occurred_us": occurred_us,
        "features": [json.dumps(dict.fromkeys(names) | {names[0]: row}) for row in rows],
        "age_bracket": [f"age-{row}" for row in rows],
        "state": ["S00"] * len(occurred_us),
    })  # fmt: skip


def test_applications_come_in_the_order_of_their_times_with_the_features_of_the_examples() -> None:
    examples, _ = population(rows=50)
    at = int(examples.occurred_us[0])
    found = applications_of(read([at + 2, at, at + 1], examples.feature_names), examples)
    assert found.customer_id.tolist() == ["cust-1", "cust-2", "cust-0"]
    assert found.features[:, 0].tolist() == [1.0, 2.0, 0.0]
    assert np.isnan(found.features[:, 1:]).all()
    assert found.protected["age_bracket"].tolist() == ["age-1", "age-2", "age-0"]


def test_of_days_that_were_left_out_there_is_no_application() -> None:
    examples, _ = population(rows=2000)
    first = int(examples.occurred_us.min()) // DAY_US
    kept = examples.take(examples.occurred_us // DAY_US != first + 1)
    bought = [(first + day) * DAY_US for day in range(3)]
    assert applications_of(read(bought, kept.feature_names), kept).customer_id.tolist() == ["cust-0", "cust-2"]


def test_where_nothing_was_read_there_is_no_application() -> None:
    examples, _ = population(rows=50)
    nothing = read([0], examples.feature_names).slice(0, 0)
    assert len(applications_of(nothing, examples)) == 0
