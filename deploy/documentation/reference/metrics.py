"""Every metric of the services, from the modules that declare them."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from types import ModuleType

from prometheus_client import Counter, Gauge, Histogram
from prometheus_client.metrics import MetricWrapperBase

from deploy.documentation import markdown
from deploy.documentation.repository import ROOT, SERVICES

_KINDS = ((Counter, "counter"), (Gauge, "gauge"), (Histogram, "histogram"))


def declared_in(module: ModuleType) -> Iterator[MetricWrapperBase]:
    for value in vars(module).values():
        if isinstance(value, MetricWrapperBase):
            yield value


def page() -> str:
    parts = ["## Of several services", _table(importlib.import_module("shared.telemetry.metrics"))]
    parts.append(_table(importlib.import_module("shared.telemetry.log_fields")))
    for service in SERVICES:
        modules = sorted((ROOT / "services" / service).rglob("metrics.py"))
        names = [".".join(module.relative_to(ROOT).with_suffix("").parts) for module in modules]
        if names:
            parts += [f"## {service.capitalize()}", *(_table(importlib.import_module(name)) for name in names)]
    return markdown.page(
        "Metrics",
        "What each service serves at `/metrics` of its `METRICS__PORT`. A counter's name ends in `_total`; of a "
        "histogram there are `_bucket`, `_sum` and `_count`. What is made of them: [alerts](alerts.md), and "
        "[dashboards](../operations/observability.md).",
        *(part for part in parts if part),
    )


def _table(module: ModuleType) -> str:
    rows = []
    for metric in declared_in(module):
        kind = next(name for cls, name in _KINDS if isinstance(metric, cls))
        name = f"{metric._name}_total" if kind == "counter" else metric._name
        labels = ", ".join(markdown.code(label) for label in metric._labelnames)
        rows.append([markdown.code(name), kind, labels, markdown.safe(metric._documentation)])
    return markdown.table(["metric", "kind", "labels", ""], rows) if rows else ""
