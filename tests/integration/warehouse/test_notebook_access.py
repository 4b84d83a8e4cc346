"""The notebooks' way to the warehouse: pandas-gbq, both ways."""

from __future__ import annotations

import pandas as pd
import pytest

from notebooks.kit.access import TooWide, read, write
from shared.settings import BigQuerySettings


@pytest.fixture(autouse=True)
def environment(warehouse: BigQuerySettings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BIGQUERY__PROJECT", warehouse.project)
    monkeypatch.setenv("BIGQUERY__REST_ENDPOINT", warehouse.rest_endpoint)
    monkeypatch.setenv("BIGQUERY__GRPC_ENDPOINT", warehouse.grpc_endpoint)


def test_what_is_written_is_read_back() -> None:
    frame = pd.DataFrame({"name": ["a", "b"], "value": [1.5, 2.25], "count": [1, 2]})
    write(frame, "flit_ml.my_study")
    again = read("SELECT name, value, count FROM `{project}.flit_ml.my_study` ORDER BY name")
    assert again.to_dict("list") == frame.to_dict("list")
    write(frame.iloc[:1], "flit_ml.my_study", replace=True)
    assert read("SELECT COUNT(*) AS n FROM `{project}.flit_ml.my_study`")["n"].to_list() == [1]


def test_nobody_writes_over_a_table_of_the_system() -> None:
    with pytest.raises(ValueError, match="system's own"):
        write(pd.DataFrame({"a": [1]}), "flit_bnpl_raw.transactions", replace=True)


def test_a_table_that_is_read_by_days_is_not_read_as_a_whole() -> None:
    with pytest.raises(TooWide, match="_timestamp"):
        read("SELECT COUNT(*) AS n FROM `{project}.flit_bnpl_raw.raw_bnpl_txs_json`")
    of_days = "SELECT COUNT(*) AS n FROM `{project}.flit_bnpl_raw.raw_bnpl_txs_json` WHERE _timestamp >= '2026-01-01'"
    assert read(of_days)["n"].to_list() == [0]
