"""Reads which records have rows, and what those say, by Google's own client."""

from __future__ import annotations

from collections import defaultdict

from google.api_core.client_options import ClientOptions
from google.auth.credentials import AnonymousCredentials
from google.cloud import bigquery

from services.ledger.checks import Mirrored
from services.ledger.content import columns_of, of_row
from shared.settings import BigQuerySettings

TIMEOUT_SECONDS = 120


def open_client(settings: BigQuerySettings) -> bigquery.Client:
    if settings.is_emulator:
        return bigquery.Client(
            settings.project,
            credentials=AnonymousCredentials(),
            client_options=ClientOptions(api_endpoint=settings.rest_endpoint),
        )
    return bigquery.Client(settings.project)


def erased_events(client: bigquery.Client) -> frozenset[str]:
    """Event ids of purchases whose customer was erased: their rows say whose they are no more."""
    sql = f"SELECT event_id FROM `{client.project}.flit_bnpl_raw.transactions` WHERE customer_id IS NULL"
    rows = client.query(sql, timeout=TIMEOUT_SECONDS).result(timeout=TIMEOUT_SECONDS)
    return frozenset(row["event_id"] for row in rows)


def rows_of(client: bigquery.Client, table: str) -> dict[tuple[int, int], list[Mirrored]]:
    """(partition, offset) → the table's rows of that record. What was loaded in bulk has no place and is left out."""
    found: dict[tuple[int, int], list[Mirrored]] = defaultdict(list)
    wanted = {"kafka_partition", "kafka_offset", "event_id", *columns_of(table)}
    full = client.get_table(f"{client.project}.{table}", timeout=TIMEOUT_SECONDS)
    columns = [column for column in full.schema if column.name in wanted]
    for row in client.list_rows(full, selected_fields=columns, page_size=20_000, timeout=TIMEOUT_SECONDS):
        if row["kafka_offset"] is not None:
            says = Mirrored(row.get("event_id"), of_row(table, row))
            found[row["kafka_partition"], row["kafka_offset"]].append(says)
    return found
