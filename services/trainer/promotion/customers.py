"""Some of the customers who bought within a time, each by one purchase that several models can be asked about."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import msgspec

from services.trainer.queries import made_anew
from services.trainer.rescore import FOR_WANT_OF_A_MODEL
from services.trainer.warehouse import Warehouse
from shared.contracts.events import Transaction
from shared.warehouse import tables, views
from shared.warehouse.accepted import TRANSACTION_COLUMNS, accepted_transaction

MOST_CUSTOMERS = 20_000
"""Drawn by a hash of the customer: a share of them is known to within 0.4% (its standard error), whoever they are."""

BATCH_ROWS = 2_000
"""Of a purchase and its features in Python: some tens of megabytes."""

_BOUGHT = "occurred_at >= TIMESTAMP_MICROS({since_us}) AND occurred_at < TIMESTAMP_MICROS({until_us})"
_DECISIONS = views.first_records(tables.DECISIONS, f"{views.decided_since('{since_us}')} AND {_BOUGHT}")
_TRANSACTIONS = views.first_records(tables.TRANSACTIONS, f"misplaced IS NOT TRUE AND {_BOUGHT}")
_MADE_ANEW = f"""
LEFT JOIN ({made_anew(_BOUGHT)}) AS f{{number}} ON f{{number}}.event_id = d.event_id
"""

_ASKED = f"""
WITH drawn AS (
  SELECT event_id FROM (
    SELECT d.event_id, d.customer_id FROM ({_DECISIONS}) AS d {{joined}}
    WHERE d.customer_id IS NOT NULL AND {{in_sets}}
      AND COALESCE(d.degraded, '') IN ('', {", ".join(f"'{why}'" for why in FOR_WANT_OF_A_MODEL)})
    QUALIFY ROW_NUMBER() OVER (PARTITION BY d.customer_id ORDER BY d.occurred_at, d.event_id) = 1
  ) ORDER BY TO_HEX(MD5(customer_id)) LIMIT {{most}}
)
SELECT {", ".join(f"t.{name}" for name in TRANSACTION_COLUMNS)}, {{features}}
FROM drawn
JOIN ({_DECISIONS}) AS d ON d.event_id = drawn.event_id
JOIN ({_TRANSACTIONS}) AS t ON {views.of_decision("t", "d")}
{{joined}}
WHERE t.customer_id IS NOT NULL
"""
"""What is drawn, and sorted for it, are ids: rows with their features are sorted nowhere."""

_FEATURES = msgspec.json.Decoder(dict[str, float | None])

Features = Mapping[str, float | None]


@dataclass(frozen=True, slots=True)
class Asked:
    transaction: Transaction
    features: Mapping[str, Features]
    """By feature set."""


def asked(
    warehouse: Warehouse, since_us: int, until_us: int, feature_sets: Sequence[str], most: int = MOST_CUSTOMERS
) -> Iterator[list[Asked]]:
    """Of customers who bought in [since, until), the first purchase of which there are features of each set, decided on
    or made anew of the same moment; some at a time. Left out is what no model would have been asked about.

    Raises WarehouseUnavailable.
    """
    bounds = {"project": warehouse.project, "since_us": since_us, "until_us": until_us}
    numbered = list(enumerate(feature_sets))
    sql = _ASKED.format(
        joined="".join(_MADE_ANEW.format(number=n, feature_set=name, **bounds) for n, name in numbered),
        in_sets=" AND ".join(
            f"(d.feature_set_version = '{name}' OR f{n}.event_id IS NOT NULL)" for n, name in numbered
        ),
        features=", ".join(
            f"TO_JSON_STRING(IF(d.feature_set_version = '{name}', d.features, f{n}.features)) AS features_{n}"
            for n, name in numbered
        ),
        most=most,
        **bounds,
    )
    with warehouse.batches(sql) as (_, batches):
        for batch in batches:
            for start in range(0, batch.num_rows, BATCH_ROWS):
                yield [
                    Asked(
                        accepted_transaction(row).transaction,
                        {name: _FEATURES.decode(row[f"features_{n}"]) for n, name in numbered},
                    )
                    for row in batch.slice(start, BATCH_ROWS).to_pylist()
                ]
