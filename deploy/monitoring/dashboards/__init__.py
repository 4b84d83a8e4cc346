"""The dashboards, by the names of their files."""

from __future__ import annotations

from collections.abc import Mapping

from deploy.monitoring.dashboards.decisions import DECISIONS
from deploy.monitoring.dashboards.models import MODELS
from deploy.monitoring.dashboards.panels import Dashboard
from deploy.monitoring.dashboards.stream import STREAM
from deploy.monitoring.dashboards.system import SYSTEM
from deploy.monitoring.dashboards.warehouse import WAREHOUSE

DASHBOARDS: Mapping[str, Dashboard] = {
    "system": SYSTEM,
    "stream": STREAM,
    "decisions": DECISIONS,
    "models": MODELS,
    "warehouse": WAREHOUSE,
}
