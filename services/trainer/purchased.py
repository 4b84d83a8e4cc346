"""What the purchases of some examples were, and whose, as the warehouse keeps it.

Age bracket and state are read here, for what is measured after a model was made and chosen, and nowhere before.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from services.trainer.examples import Examples
from services.trainer.segments import GROUPS, SEGMENTS, UNKNOWN
from services.trainer.warehouse import Warehouse
from shared.warehouse import tables, views

_COLUMNS = {**SEGMENTS, **GROUPS}

_WITHIN = "occurred_at BETWEEN TIMESTAMP_MICROS({first_us}) AND TIMESTAMP_MICROS({last_us})"

_SEGMENTS = f"""
SELECT event_id, customer_id, {", ".join(f"CAST({column} AS STRING) AS {name}" for name, column in _COLUMNS.items())}
FROM ({views.first_records(tables.TRANSACTIONS, f"misplaced IS NOT TRUE AND {_WITHIN}")})
"""


def read_segments(warehouse: Warehouse, seen: Examples) -> dict[str, NDArray[np.object_]]:
    """The columns of these examples; what isn't told is `UNKNOWN`. Raises WarehouseUnavailable."""
    found = warehouse.rows(
        _SEGMENTS.format(
            project=warehouse.project, first_us=int(seen.occurred_us.min()), last_us=int(seen.occurred_us.max())
        )
    )
    # Another customer's purchase may have come under the same id.
    names = zip(found["event_id"].to_pylist(), found["customer_id"].to_pylist(), strict=True)
    place = {name: row for row, name in enumerate(names)}
    rows = [place.get(name) for name in zip(seen.event_id, seen.customer_id, strict=True)]
    columns = {}
    for name in _COLUMNS:
        values = found[name].to_pylist()
        told = [None if row is None else values[row] for row in rows]
        columns[name] = np.array([UNKNOWN if value is None else value for value in told], dtype=object)
    return columns
