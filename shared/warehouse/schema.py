"""Make the warehouse what the declarations say: what is missing is created, new columns are added, the rest refused."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

from google.api_core.exceptions import NotFound
from google.cloud import bigquery

from shared.google_errors import AWAY
from shared.settings import BigQuerySettings
from shared.warehouse import tables, views
from shared.warehouse.clients import CALL_TIMEOUT_S, RETRY, bigquery_client
from shared.warehouse.columns import Column, Table
from shared.warehouse.views import View

ALIASES = {"INTEGER": "INT64", "FLOAT": "FLOAT64", "BOOLEAN": "BOOL", "DECIMAL": "NUMERIC"}
"""The API answers with the legacy names of some types."""

DEFINITION_LABEL = "definition"
"""Label of a view: a hash of its SQL, since not every answer about a view holds the SQL itself."""


class SchemaConflict(Exception):
    """The warehouse differs from the declarations by more than missing parts: a person has to decide."""


class WarehouseUnreachable(Exception):
    """BigQuery doesn't answer, or refuses us."""


@dataclass(frozen=True, slots=True)
class Change:
    """Something that was (or would have to be) done: `create dataset`, `create table`, `add column`, `create view`,
    `replace view`."""

    kind: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind} {self.name}"


def ensure_warehouse(settings: BigQuerySettings, *, client: bigquery.Client | None = None) -> list[Change]:
    """Create datasets, tables and views that are missing, add missing columns; give what was done, in order.

    Safe to run beside itself and beside readers and writers. Raises SchemaConflict before anything is altered in a
    table that differs otherwise, WarehouseUnreachable where BigQuery doesn't answer.
    """
    return _each(settings, client, apply=True)


def pending_changes(settings: BigQuerySettings, *, client: bigquery.Client | None = None) -> list[Change]:
    """What `ensure_warehouse` would do; touches nothing. Raises as that does."""
    return _each(settings, client, apply=False)


def _each(settings: BigQuerySettings, client: bigquery.Client | None, *, apply: bool) -> list[Change]:
    changes: list[Change] = []
    try:
        client = client or bigquery_client(settings)
        for dataset, about in tables.DATASETS.items():
            changes += _dataset(client, dataset, about, apply)
        for table in tables.ALL:
            changes += _table(client, table, apply)
        for view in views.ALL:
            changes += _view(client, view, apply)
    except AWAY as error:
        raise WarehouseUnreachable(f"BigQuery project {settings.project}: {error}") from error
    return changes


def _dataset(client: bigquery.Client, name: str, about: str, apply: bool) -> Iterable[Change]:
    reference = bigquery.DatasetReference(client.project, name)
    try:
        client.get_dataset(reference, retry=RETRY, timeout=CALL_TIMEOUT_S)
        return
    except NotFound:
        pass
    if apply:
        dataset = bigquery.Dataset(reference)
        dataset.description = about
        client.create_dataset(dataset, exists_ok=True, retry=RETRY, timeout=CALL_TIMEOUT_S)
    yield Change("create dataset", name)


def _table(client: bigquery.Client, table: Table, apply: bool) -> Iterable[Change]:
    full_name = f"{client.project}.{table.id}"
    try:
        found = client.get_table(full_name, retry=RETRY, timeout=CALL_TIMEOUT_S)
    except NotFound:
        if apply:
            client.create_table(_declared(full_name, table), exists_ok=True, retry=RETRY, timeout=CALL_TIMEOUT_S)
        yield Change("create table", table.id)
        return
    missing = missing_columns(table, found)
    if missing and apply:
        additions = ", ".join(f"ADD COLUMN IF NOT EXISTS `{column.name}` {column.type.value}" for column in missing)
        # SQL adds the columns; the schema call after it gives them their descriptions. (The emulator keeps a table and
        # its catalogue entry apart and needs both.)
        client.query(f"ALTER TABLE `{full_name}` {additions}", retry=RETRY, timeout=CALL_TIMEOUT_S).result()
        found = client.get_table(full_name, retry=RETRY, timeout=CALL_TIMEOUT_S)
        added = {column.name: column for column in missing}
        kept = [field for field in found.schema if field.name not in added]
        found.schema = [*kept, *(field_of(column) for column in missing)]
        client.update_table(found, ["schema"], retry=RETRY, timeout=CALL_TIMEOUT_S)
    for column in missing:
        yield Change("add column", f"{table.id}.{column.name}")


def missing_columns(table: Table, found: bigquery.Table) -> list[Column]:
    """The declared columns that the table lacks. Raises SchemaConflict for any other difference.

    A column that is in the table and not declared is left alone: a newer version may have added it.
    """
    present = {field.name: field for field in found.schema}
    missing: list[Column] = []
    for column in table.columns:
        field = present.get(column.name)
        if field is None:
            if column.required:
                raise SchemaConflict(f"{table.id}.{column.name} is REQUIRED and can't be added to a table with rows")
            missing.append(column)
            continue
        kind = ALIASES.get(field.field_type, field.field_type)
        if kind != column.type.value:
            raise SchemaConflict(f"{table.id}.{column.name} is {kind}, declared {column.type.value}")
        if (field.mode == "REQUIRED") != column.required:
            raise SchemaConflict(f"{table.id}.{column.name} is {field.mode}, declared otherwise")
    partitioned_by = found.time_partitioning.field if found.time_partitioning else None
    if partitioned_by != table.partition_by:
        raise SchemaConflict(f"{table.id} is partitioned by {partitioned_by}, declared {table.partition_by}")
    return missing


def _declared(full_name: str, table: Table) -> bigquery.Table:
    declared = bigquery.Table(full_name, schema=[field_of(column) for column in table.columns])
    declared.description = table.about
    declared.time_partitioning = bigquery.TimePartitioning(field=table.partition_by)
    declared.clustering_fields = list(table.cluster_by) or None
    declared.require_partition_filter = table.partition_filter_required or None
    return declared


def field_of(column: Column) -> bigquery.SchemaField:
    """The column as the API takes it."""
    mode = "REQUIRED" if column.required else "NULLABLE"
    return bigquery.SchemaField(column.name, column.type.value, mode, description=column.about or None)


def _view(client: bigquery.Client, view: View, apply: bool) -> Iterable[Change]:
    full_name = f"{client.project}.{view.id}"
    query = view.query(client.project)
    wanted = bigquery.Table(full_name)
    wanted.view_query = query
    wanted.description = view.about
    wanted.labels = {DEFINITION_LABEL: hashlib.sha256(query.encode()).hexdigest()[:16]}
    try:
        found = client.get_table(full_name, retry=RETRY, timeout=CALL_TIMEOUT_S)
    except NotFound:
        if apply:
            client.create_table(wanted, exists_ok=True, retry=RETRY, timeout=CALL_TIMEOUT_S)
        yield Change("create view", view.id)
        return
    if found.table_type != "VIEW":
        raise SchemaConflict(f"{view.id} is a {found.table_type}, declared a view")
    if found.labels.get(DEFINITION_LABEL) != wanted.labels[DEFINITION_LABEL]:
        if apply:
            fields = ["view_query", "description", "labels"]
            client.update_table(wanted, fields, retry=RETRY, timeout=CALL_TIMEOUT_S)
        yield Change("replace view", view.id)
