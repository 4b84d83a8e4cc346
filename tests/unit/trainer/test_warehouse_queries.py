"""A query that the warehouse doesn't answer in time."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, NoReturn

import pytest

from services.trainer.warehouse import Warehouse, WarehouseUnavailable
from shared.settings import BigQuerySettings


def test_nobody_goes_on_paying_for_a_query_that_was_given_up() -> None:
    """It would be asked again at the next look, while the first one still reads."""
    done: list[str] = []

    def late(**_: Any) -> NoReturn:
        raise TimeoutError

    job = SimpleNamespace(result=late, cancel=lambda **_: done.append("cancelled"))
    warehouse = Warehouse(BigQuerySettings(rest_endpoint="http://127.0.0.1:1", grpc_endpoint="127.0.0.1:1"))
    warehouse.client = SimpleNamespace(
        query=lambda *_, **__: job, delete_table=lambda *_, **__: done.append("table deleted")
    )
    with pytest.raises(WarehouseUnavailable):
        warehouse.rows("SELECT 1")
    assert done == ["cancelled", "table deleted"]
