"""What the console makes of BigQuery's troubles."""

from __future__ import annotations

from concurrent.futures import TimeoutError as OutOfTime
from typing import Any

import pytest
from google.api_core.exceptions import Forbidden, GoogleAPICallError, InternalServerError, NotFound

from services.console import warehouse
from services.console.queries.query import query
from services.console.warehouse import Warehouse, WarehouseAway
from shared.settings import BigQuerySettings


class Job:
    def __init__(self, trouble: Exception, cancelling: Exception | None = None) -> None:
        self.trouble, self.cancelling, self.cancelled = trouble, cancelling, 0

    def result(self, **_: Any) -> list[Any]:
        raise self.trouble

    def cancel(self, **_: Any) -> bool:
        self.cancelled += 1
        if self.cancelling is not None:
            raise self.cancelling
        return True


class Client:
    def __init__(self, job: Job) -> None:
        self.job = job

    def query(self, *_: Any, **__: Any) -> Job:
        return self.job


def asked(job: Job, monkeypatch: pytest.MonkeyPatch) -> str:
    """What people are told."""
    monkeypatch.setattr(warehouse, "bigquery_client", lambda _: Client(job))
    with pytest.raises(WarehouseAway) as away:
        Warehouse(BigQuerySettings()).rows(query("SELECT 1"))
    return str(away.value)


def refused(kind: type[GoogleAPICallError], reason: str) -> GoogleAPICallError:
    return kind("as BigQuery says it", errors=[{"reason": reason}])


def test_a_question_that_would_read_too_much_is_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    said = asked(Job(refused(InternalServerError, "bytesBilledLimitExceeded")), monkeypatch)
    assert "narrow the days" in said and "20 GiB" in said
    for other in (refused(Forbidden, "accessDenied"), Forbidden("without errors"), OutOfTime()):
        assert "doesn't answer" in asked(Job(other), monkeypatch)
    assert "has not been set up" in asked(Job(NotFound("no table")), monkeypatch)


def test_a_job_that_nobody_waits_for_any_more_is_cancelled(monkeypatch: pytest.MonkeyPatch) -> None:
    for cancelling in (None, Forbidden("no"), OSError("gone")):
        late = Job(OutOfTime(), cancelling)
        assert "doesn't answer" in asked(late, monkeypatch)
        assert late.cancelled == 1
    ended = Job(refused(Forbidden, "accessDenied"))
    asked(ended, monkeypatch)
    assert ended.cancelled == 0
