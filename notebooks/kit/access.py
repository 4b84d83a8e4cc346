"""The warehouse from a notebook: data frames in and out, with a bound on what a query may cost."""

from __future__ import annotations

import re

import pandas as pd
import pandas_gbq
from pydantic_settings import SettingsConfigDict

from shared.settings import BigQuerySettings, ServiceSettings, load_settings
from shared.warehouse import tables
from shared.warehouse.clients import bigquery_client

GIB = 2**30


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
    frame: pd.DataFrame = pandas_gbq.read_gbq(
        sql.replace("{project}", settings.project),
        project_id=settings.project,
        bigquery_client=bigquery_client(settings),
        configuration={"query": {"maximumBytesBilled": str(int(max_gib * GIB)), "useQueryCache": False}},
        progress_bar_type=None,
        use_bqstorage_api=False,
    )
    return frame


def write(frame: pd.DataFrame, table: str, *, replace: bool = False) -> None:
    """A frame as a table of its own, such as `flit_ml.my_study`. Raises where it exists, unless `replace`."""
    settings = load_settings(NotebookSettings).bigquery
    known = {declared.id for declared in tables.ALL}
    if table in known:
        raise ValueError(f"{table} is the system's own: give your table another name")
    pandas_gbq.to_gbq(
        frame,
        table,
        project_id=settings.project,
        bigquery_client=bigquery_client(settings),
        if_exists="replace" if replace else "fail",
        progress_bar=False,
    )


def _check_partitions(sql: str) -> None:
    for table in tables.ALL:
        filtered = re.search(rf"\b{re.escape(table.partition_by)}\b\s*(>=|>|=|<|<=|BETWEEN)", sql, re.IGNORECASE)
        if table.partition_filter_required and table.name in sql and not filtered:
            raise TooWide(f"{table.id} is read by days: add a condition on {table.partition_by}")
