"""How large the warehouse's rows are."""

from __future__ import annotations

from shared.settings import BigQuerySettings
from shared.warehouse.clients import bigquery_client
from shared.warehouse.reading import read_client
from shared.warehouse.tables import DECISIONS, FEATURES, RAW_TRANSACTIONS, TRANSACTIONS

OF_A_PURCHASE = (RAW_TRANSACTIONS, TRANSACTIONS, FEATURES, DECISIONS)
"""Each purchase has one row in each of them; an outcome's is small beside these."""
READ_S = 300.0
STREAMS = 10
"""At once. A message of the emulator holds up to 65,536 rows, which would be too large for one."""


def row_bytes(settings: BigQuerySettings) -> dict[str, float]:
    """By table: of all its rows on average, as Arrow holds them. Raises RuntimeError where a table is empty."""
    client, reads = bigquery_client(settings), read_client(settings)
    found = {}
    for table in OF_A_PURCHASE:
        rows = client.list_rows(f"{client.project}.{table.id}", timeout=READ_S)
        size, count = 0, 0
        for batch in rows.to_arrow_iterable(bqstorage_client=reads, max_stream_count=STREAMS):
            size, count = size + batch.nbytes, count + batch.num_rows
        if not count:
            raise RuntimeError(f"{table.id} has no rows")
        found[table.id] = size / count
    return found
