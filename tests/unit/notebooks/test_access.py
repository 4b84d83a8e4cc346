"""What a notebook may write."""

from __future__ import annotations

import pandas as pd
import pytest

from notebooks.kit.access import write
from shared.warehouse import tables


@pytest.mark.parametrize("table", [
    tables.TRANSACTIONS.id,
    f"my-project.{tables.TRANSACTIONS.id}",
    f"`my-project.{tables.DRIFT_METRICS.id}`",
    f"my-project.{tables.ML_RAW}.of_my_own",
])  # fmt: skip
def test_no_table_of_the_system_is_written_however_it_is_spelt(table: str) -> None:
    with pytest.raises(ValueError, match="the system's own"):
        write(pd.DataFrame({"a": [1]}), table, replace=True)
