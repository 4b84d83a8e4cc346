"""The warehouse as the console reads it: bounded questions, short deadlines, one error for people."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Any

from google.api_core.exceptions import GoogleAPICallError, NotFound
from google.cloud import bigquery

from services.console.queries.query import Query, Value
from shared.google_errors import AWAY
from shared.settings import BigQuerySettings
from shared.warehouse import tables
from shared.warehouse.clients import CALL_TIMEOUT_S, bigquery_client

ANSWER_TIMEOUT_S = 20.0
"""Beyond it nobody looks at the page any more."""

MOST_BYTES = 20 * 1024**3
"""Scanned by one question, at most: a mistake is to cost cents, not what a year of decisions would."""

_TOO_MUCH = "bytesBilledLimitExceeded"
"""BigQuery's own word for a question that was refused for `MOST_BYTES`."""

_KINDS = {str: "STRING", int: "INT64", float: "FLOAT64"}


class WarehouseAway(Exception):
    """It doesn't answer, refuses us, or has not been set up. The text is for people."""


class Warehouse:
    """Every method, and building it, may raise WarehouseAway. May be used from several threads."""

    def __init__(self, settings: BigQuerySettings) -> None:
        self._project = settings.project
        try:
            self._client = bigquery_client(settings)
        except AWAY as error:
            raise self._away(error) from error

    def check(self) -> None:
        """Whether what is read here exists."""
        for table in (tables.DECISIONS, tables.DECISION_UPDATES, tables.DRIFT_METRICS):
            try:
                # No retries: who asks whether it is there wants to know now.
                self._client.get_table(f"{self._project}.{table.id}", retry=None, timeout=CALL_TIMEOUT_S)
            except AWAY as error:
                raise self._away(error) from error

    def rows(self, query: Query) -> list[dict[str, Any]]:
        config = bigquery.QueryJobConfig(
            query_parameters=[_parameter(name, value) for name, value in query.values], maximum_bytes_billed=MOST_BYTES
        )
        sql = query.sql.replace("{project}", self._project)
        job = None
        try:
            # No retries here either: the page is asked again by whoever looks at it.
            job = self._client.query(sql, job_config=config, retry=None, job_retry=None, timeout=CALL_TIMEOUT_S)
            # By key: what a row gives with items() are deep copies.
            return [dict(row) for row in job.result(timeout=ANSWER_TIMEOUT_S, retry=None)]
        except AWAY as error:
            if job is not None and isinstance(error, OSError):
                self._give_up(job)
            raise self._away(error) from error

    def _give_up(self, job: bigquery.QueryJob) -> None:
        """Nobody waits for its answer any more: it would go on reading, and be billed, all the same."""
        with contextlib.suppress(*AWAY):
            job.cancel(retry=None, timeout=CALL_TIMEOUT_S)

    def _away(self, error: Exception) -> WarehouseAway:
        if isinstance(error, GoogleAPICallError) and _TOO_MUCH in [
            each.get("reason") for each in error.errors if isinstance(each, Mapping)
        ]:
            return WarehouseAway(
                f"The question would read more than a page may of the warehouse ({MOST_BYTES // 1024**3} GiB): narrow "
                "the days, where the page lets you."
            )
        if isinstance(error, NotFound):
            return WarehouseAway(
                f"The warehouse (BigQuery project {self._project}) has not been set up: run "
                "`python -m shared.warehouse create`."
            )
        return WarehouseAway(f"The warehouse (BigQuery project {self._project}) doesn't answer, or refuses us.")


def _parameter(name: str, value: Value) -> bigquery.ScalarQueryParameter | bigquery.ArrayQueryParameter:
    if isinstance(value, tuple):
        return bigquery.ArrayQueryParameter(name, "STRING", list(value))
    return bigquery.ScalarQueryParameter(name, _KINDS.get(type(value), "TIMESTAMP"), value)
