"""The metrics of the code, and those that an expression or a page names."""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterator
from pathlib import Path

from prometheus_client import REGISTRY

from deploy.monitoring.dashboards import DASHBOARDS
from deploy.monitoring.rules import alerting_rules, recording_rules

REPOSITORY = Path(__file__).parents[1]
RUNBOOKS = REPOSITORY / "docs/operations/runbooks"
MODULES = (
    "shared.telemetry.metrics", "shared.telemetry.log_fields", "services.features.metrics", "services.ingestor.metrics",
    "services.ledger.metrics", "services.scorer.metrics", "services.simulator.metrics", "services.sink.metrics",
    "services.trainer.metrics", "services.trainer.monitoring.metrics",
)  # fmt: skip
OF_TARGETS = frozenset({"job", "instance", "optional"})
"""Labels that Prometheus gives to whatever it scrapes."""
OF_PROMETHEUS = {"up": frozenset[str](), "ALERTS": frozenset({"alertname", "alertstate", "severity"})}

_SELECTOR = re.compile(r"(?<![\w:$\"])([a-zA-Z_][a-zA-Z0-9_:]*)(?:\{([^}]*)\})?(?!\s*\()(?![\w:\"])")
_WORDS = frozenset({"by", "or", "and", "unless", "on", "le"})
_BY = re.compile(r"\b(?:by|on) \(([^)]*)\)")


def metrics_of_the_code() -> dict[str, frozenset[str]]:
    """Every sample's name → its labels."""
    for module in MODULES:
        importlib.import_module(module)
    found: dict[str, frozenset[str]] = dict(OF_PROMETHEUS)
    for name, collector in REGISTRY._names_to_collectors.items():
        labels = frozenset(getattr(collector, "_labelnames", ()))
        found[name] = labels | {"le"} if name.endswith("_bucket") else labels
    return found


def recorded() -> dict[str, str]:
    """Recording rule → its expression."""
    return {rule["record"]: rule["expr"] for rule in recording_rules()["groups"][0]["rules"]}


def expressions() -> Iterator[tuple[str, str]]:
    """Where it stands, and the PromQL."""
    yield from recorded().items()
    for group in alerting_rules()["groups"]:
        for rule in group["rules"]:
            yield f"alert {rule['alert']} ({rule['labels']['severity']})", rule["expr"]
    for name, dashboard in DASHBOARDS.items():
        for panel in dashboard.panels:
            for number, query in enumerate(panel.queries, 1):
                which = f" ({number})" if len(panel.queries) > 1 else ""
                yield f"dashboard {name}: {panel.title}{which}", query.expression


def selectors(expression: str) -> Iterator[tuple[str, list[str]]]:
    """Each metric that an expression names, with the labels that it is selected by."""
    bare = _BY.sub("", expression)
    for name, matchers in _SELECTOR.findall(bare.replace("$__rate_interval", "5m")):
        if name not in _WORDS:
            yield name, re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", matchers)


def grouped_by(expression: str) -> set[str]:
    named = {label.strip() for labels in _BY.findall(expression) for label in labels.split(",")}
    return named - {""}  # on ()
