"""To which segment and which group each purchase belongs, from the warehouse."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from services.trainer.examples import Examples
from services.trainer.gates.dossier import Groups, Values
from services.trainer.warehouse import Warehouse
from shared.warehouse import views

SEGMENTS = {
    "credit_score_range": "customer_credit_score_range",
    "product_category": "product_category",
    "instalments": "installments_count",
}
PROTECTED = {"age_bracket": "customer_age_bracket", "state": "customer_state"}
UNKNOWN = "unknown"

_COLUMNS = {**SEGMENTS, **PROTECTED}

_PURCHASES = f"""
SELECT event_id, {", ".join(f"CAST({column} AS STRING) AS {name}" for name, column in _COLUMNS.items())}
FROM `{{project}}.{views.TRANSACTIONS_CURRENT.id}`
WHERE occurred_at >= TIMESTAMP_MICROS({{first_us}}) AND occurred_at <= TIMESTAMP_MICROS({{last_us}})
"""

GroupsOf = Callable[[Examples], Groups]


def of_warehouse(warehouse: Warehouse) -> GroupsOf:
    """Reads the purchases of the examples' time."""

    def groups(examples: Examples) -> Groups:
        first, last = int(examples.occurred_us.min()), int(examples.occurred_us.max())
        found = warehouse.rows(_PURCHASES.format(project=warehouse.project, first_us=first, last_us=last))
        place = {event: row for row, event in enumerate(found["event_id"].to_pylist())}
        rows = [place.get(event) for event in examples.event_id]

        def column(name: str) -> Values:
            values = found[name].to_pylist()
            return np.array([(values[row] if row is not None else None) or UNKNOWN for row in rows], dtype=object)

        return Groups({name: column(name) for name in SEGMENTS}, {name: column(name) for name in PROTECTED})

    return groups
