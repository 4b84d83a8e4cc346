"""How large the warehouse's rows are."""

from __future__ import annotations

from google.cloud import bigquery

from shared.settings import BigQuerySettings
from shared.warehouse.clients import bigquery_client
from shared.warehouse.tables import DECISIONS, FEATURES, RAW_TRANSACTIONS, TRANSACTIONS

OF_A_PURCHASE = (RAW_TRANSACTIONS, TRANSACTIONS, FEATURES, DECISIONS)
"""Each purchase has one row in each of them; an outcome's is small beside these."""
ROWS = 500


def row_bytes(settings: BigQuerySettings) -> dict[str, float]:
    """By table: of its latest rows, as Arrow holds them. Raises ValueError where a table is empty."""
    client = bigquery_client(settings)
    return {table.id: _mean(client, table.id) for table in OF_A_PURCHASE}


def _mean(client: bigquery.Client, table: str) -> float:
    rows = client.list_rows(f"{client.project}.{table}", max_results=ROWS).to_arrow(create_bqstorage_client=False)
    if not rows.num_rows:
        raise ValueError(f"{table} has no rows")
    return float(rows.nbytes / rows.num_rows)
