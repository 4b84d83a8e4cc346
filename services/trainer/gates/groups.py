"""To which segment and which group each purchase belongs, from the warehouse."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from services.trainer.examples import Examples
from services.trainer.gates.dossier import Applications, Groups, Values
from services.trainer.purchased import read_segments
from services.trainer.queries import made_anew
from services.trainer.segments import GROUPS, SEGMENTS, UNKNOWN
from services.trainer.warehouse import Warehouse, decoded_features
from shared.deciding import Degraded
from shared.feature_definitions.windows import MICROS_PER_DAY
from shared.warehouse import tables, views

if TYPE_CHECKING:
    import pyarrow

GroupsOf = Callable[[Examples], Groups]

_BETWEEN = "occurred_at BETWEEN TIMESTAMP_MICROS({first_us}) AND TIMESTAMP_MICROS({last_us})"

_APPLICATIONS = f"""
SELECT a.event_id, a.customer_id, UNIX_MICROS(a.occurred_at) AS occurred_us,
  TO_JSON_STRING(IF(a.feature_set_version = '{{feature_set}}', a.features, f.features)) AS features,
  {", ".join(f"COALESCE(CAST(t.{column} AS STRING), '{UNKNOWN}') AS {name}" for name, column in GROUPS.items())}
FROM (
  SELECT event_id, customer_id, occurred_at, feature_set_version, features, kafka_partition AS home
  FROM ({views.first_records(tables.DECISIONS, views.decided_since("{first_us}"))}) AS d
  WHERE COALESCE(degraded, '') NOT IN ('{Degraded.REBUILDING}', '{Degraded.STATE_UNAVAILABLE}')
  UNION ALL
  SELECT event_id, customer_id, occurred_at, feature_set_version, features, home
  FROM ({views.loaded_features("{first_us}")}) AS l
) AS a
JOIN (
  {views.first_records(tables.TRANSACTIONS, f"misplaced IS NOT TRUE AND {_BETWEEN}")}
) AS t ON t.event_id = a.event_id AND {views.home("t")} = a.home
LEFT JOIN ({made_anew(_BETWEEN)}) AS f ON f.event_id = a.event_id
WHERE a.{_BETWEEN}
  AND a.customer_id IS NOT NULL AND (a.feature_set_version = '{{feature_set}}' OR f.event_id IS NOT NULL)
"""
"""All that was decided or loaded in bulk, with the features that examples have. Left out is what was decided without
features that any model could be asked with."""


def of_warehouse(warehouse: Warehouse) -> GroupsOf:
    """Reads the purchases of the examples' time."""

    def groups(examples: Examples) -> Groups:
        read = read_segments(warehouse, examples)
        bounds = {"first_us": int(examples.occurred_us.min()), "last_us": int(examples.occurred_us.max())}
        feature_set = examples.feature_set_version
        found = warehouse.rows(_APPLICATIONS.format(project=warehouse.project, feature_set=feature_set, **bounds))
        segments, protected = ({name: read[name] for name in names} for names in (SEGMENTS, GROUPS))
        return Groups(segments, protected, applications_of(found, examples))

    return groups


def applications_of(found: pyarrow.Table, examples: Examples) -> Applications:
    """The rows of the query, of days on which some example was bought: what was left out of these for its broken input
    is no application either."""
    occurred_us = np.array(found["occurred_us"].to_pylist(), dtype=np.int64)
    days = np.isin(occurred_us // MICROS_PER_DAY, examples.occurred_us // MICROS_PER_DAY)
    order = np.lexsort((np.array(found["event_id"].to_pylist(), dtype=str), occurred_us))
    kept = order[days[order]]

    def column(name: str) -> Values:
        return np.array(found[name].to_pylist(), dtype=object)[kept]

    return Applications(
        column("customer_id"),
        decoded_features(found["features"], examples.feature_names)[kept],
        {name: column(name) for name in GROUPS},
    )
