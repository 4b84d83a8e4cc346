"""A warehouse of the tests' own on the shared emulator."""

from __future__ import annotations

import pytest

from shared.settings import BigQuerySettings
from shared.warehouse.schema import ensure_warehouse


@pytest.fixture(scope="module")
def warehouse(bigquery_endpoints: BigQuerySettings, request: pytest.FixtureRequest) -> BigQuerySettings:
    """Tables and views in a project that no other module uses."""
    name = request.path.stem.replace("_", "-")
    settings = bigquery_endpoints.model_copy(update={"project": f"flit-{name}"})
    ensure_warehouse(settings)
    return settings
