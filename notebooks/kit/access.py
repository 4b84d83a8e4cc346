"""The warehouse from a notebook: data frames in and out, with a bound on what a query may cost."""

from __future__ import annotations

import os
import re
import uuid
from collections.abc import Iterator
from contextlib import contextmanager

import pandas as pd
import pandas_gbq
from google.cloud import bigquery
from pydantic_settings import SettingsConfigDict

from shared.settings import BigQuerySettings, ServiceSettings, load_settings
from shared.warehouse import tables
from shared.warehouse.clients import CALL_TIMEOUT_S, RETRY, bigquery_client
from shared.warehouse.scratch import EXPIRY

GIB = 2**30
EMULATOR = "BIGQUERY_EMULATOR_HOST"
QUERY_TIMEOUT_S = 300.0


class NotebookSettings(ServiceSettings):
    model_config = SettingsConfigDict(**{**ServiceSettings.model_config, "env_ignore_empty": True})

    bigquery: BigQuerySettings = BigQuerySettings()


class TooWide(ValueError):
    """A query that would read a whole table that grows every day."""


def read(sql: str, *, max_gib: float = 1.0) -> pd.DataFrame:
    """The rows of a query. `{project}` in it stands for the project.

    A query that would be billed for more than `max_gib` is refused by BigQuery, unpaid. Raises TooWide for one over a
    table that requires a partition filter and has none, which BigQuery would refuse and its emulator would not.
    """
    settings = load_settings(NotebookSettings).bigquery
    _check_partitions(sql)
    client = bigquery_client(settings)
    # Through a table of its own: of a large result the emulator has none that could be read page by page.
    scratch = f"{tables.ML}.scratch_notebook_{uuid.uuid4().hex}"
    try:
        client.query(
            f"CREATE TABLE `{settings.project}.{scratch}` {EXPIRY} AS {sql.replace('{project}', settings.project)}",
            bigquery.QueryJobConfig(maximum_bytes_billed=int(max_gib * GIB), use_query_cache=False),
            retry=RETRY,
            timeout=CALL_TIMEOUT_S,
        ).result(timeout=QUERY_TIMEOUT_S)
        with _pointed(settings):
            frame: pd.DataFrame = pandas_gbq.read_gbq(
                scratch,
                project_id=settings.project,
                bigquery_client=client,
                progress_bar_type=None,
                use_bqstorage_api=False,
            )
    finally:
        client.delete_table(f"{settings.project}.{scratch}", not_found_ok=True, retry=RETRY, timeout=CALL_TIMEOUT_S)
        client.close()
    return frame


def write(frame: pd.DataFrame, table: str, *, replace: bool = False) -> None:
    """A frame as a table of its own, such as `flit_ml.my_study`. Raises where it exists, unless `replace`."""
    settings = load_settings(NotebookSettings).bigquery
    _check_own(table)
    with _pointed(settings):
        pandas_gbq.to_gbq(
            frame,
            table,
            project_id=settings.project,
            bigquery_client=bigquery_client(settings),
            if_exists="replace" if replace else "fail",
            progress_bar=False,
        )


def _check_own(table: str) -> None:
    """Raises ValueError for a table of the system, however it is spelt, and for the datasets that are only its."""
    dataset, _, name = ".".join(table.replace("`", "").split(".")[-2:]).partition(".")
    if dataset in (tables.BNPL_RAW, tables.ML_RAW) or f"{dataset}.{name}" in {each.id for each in tables.ALL}:
        raise ValueError(f"{table} is the system's own: give your table another name, in {tables.ML}")


@contextmanager
def _pointed(settings: BigQuerySettings) -> Iterator[None]:
    """pandas-gbq makes clients of its own beside the one that it is given: this variable of Google's points them."""
    if not settings.is_emulator:
        yield
        return
    before = os.environ.get(EMULATOR)
    os.environ[EMULATOR] = settings.rest_endpoint
    try:
        yield
    finally:
        os.environ.pop(EMULATOR)
        if before is not None:
            os.environ[EMULATOR] = before


def _check_partitions(sql: str) -> None:
    for table in tables.ALL:
        filtered = re.search(rf"\b{re.escape(table.partition_by)}\b\s*(>=|>|=|<|<=|BETWEEN)", sql, re.IGNORECASE)
        if table.partition_filter_required and table.name in sql and not filtered:
            raise TooWide(f"{table.id} is read by days: add a condition on {table.partition_by}")
