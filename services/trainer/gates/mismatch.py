"""Whether what is decided on live is what the history runner makes of the same moment: a model learnt from the one, and
would be asked with the other."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from services.trainer.gates.limits import GateLimits
from services.trainer.gates.verdict import MISMATCH, GateVerdict
from services.trainer.warehouse import Warehouse
from shared.feature_definitions.windows import MICROS_PER_DAY
from shared.warehouse import tables, views

DAYS = 28

_COMPARED = f"""
SELECT COUNT(*) AS compared, COUNTIF(d.feature_hash != f.feature_hash) AS differing
FROM (
  SELECT event_id, feature_hash FROM ({views.first_records(tables.DECISIONS, views.decided_since("{since_us}"))})
  WHERE feature_set_version = '{{feature_set}}' AND feature_hash IS NOT NULL AND customer_id IS NOT NULL
    AND occurred_at >= TIMESTAMP_MICROS({{since_us}}) AND occurred_at < TIMESTAMP_MICROS({{until_us}})
) AS d
JOIN (
  SELECT event_id, feature_hash FROM `{{project}}.{tables.FEATURES.id}`
  WHERE load_id IS NOT NULL AND feature_set_version = '{{feature_set}}'
    AND occurred_at >= TIMESTAMP_MICROS({{since_us}}) AND occurred_at < TIMESTAMP_MICROS({{until_us}})
  QUALIFY ROW_NUMBER() OVER (PARTITION BY event_id ORDER BY computed_at DESC) = 1
) AS f ON f.event_id = d.event_id
"""


@dataclass(frozen=True)
class Compared:
    """Decisions whose features were made again, and of how many they came out otherwise."""

    decisions: int
    differing: int


Comparison = Callable[[str], Compared]
"""Of a feature set."""


def of_warehouse(warehouse: Warehouse, as_of_us: int) -> Comparison:
    """Features that were decided on in the last `DAYS` against those of `reprocess`, where there are any of the same
    set. What is older says nothing of what a model would be asked with now."""
    until_us = as_of_us + 1
    bounds = {"since_us": until_us - DAYS * MICROS_PER_DAY, "until_us": until_us}

    def compared(feature_set: str) -> Compared:
        found = warehouse.rows(_COMPARED.format(project=warehouse.project, feature_set=feature_set, **bounds))
        return Compared(int(found["compared"][0].as_py()), int(found["differing"][0].as_py()))

    return compared


def mismatch(compared: Compared, limits: GateLimits) -> GateVerdict:
    if compared.decisions == 0:
        return GateVerdict(MISMATCH, True, "no decision's features were made again: run `reprocess` to compare")
    share = compared.differing / compared.decisions
    figures = (
        f"{compared.differing} of {compared.decisions} decisions differ ({share:.3%}), {limits.mismatch:.3%} allowed"
    )
    return GateVerdict(MISMATCH, share <= limits.mismatch, figures)
