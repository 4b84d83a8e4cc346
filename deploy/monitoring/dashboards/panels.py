"""Panels and dashboards as Grafana has them, from short declarations.

On a narrow screen Grafana puts each panel into a row of its own, in their order: the most important ones come first,
and legends stand below, where they take no width.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

COLUMNS = 24
"""Of Grafana's grid."""
STAT_HEIGHT, GRAPH_HEIGHT = 4, 8
SOURCE = {"type": "prometheus", "uid": "${datasource}"}
GREEN, YELLOW, RED = "green", "yellow", "red"

Object = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Query:
    expression: str
    legend: str = ""


@dataclass(frozen=True, slots=True)
class Panel:
    """`unit`: Grafana's name of it. `limits`: from which value on it is yellow, then red; with one, red. `falling`: low
    values are the bad ones, and the limits fall. `alerts`: whose run-books say more."""

    title: str
    about: str
    unit: str
    queries: Sequence[Query]
    kind: Literal["timeseries", "stat", "bargauge"] = "timeseries"
    limits: Sequence[float] = ()
    falling: bool = False
    alerts: Sequence[str] = ()
    width: int = 12
    stacked: bool = False

    def document(self, number: int, x: int, y: int) -> Object:
        return {
            "id": number,
            "type": self.kind,
            "title": self.title,
            "description": self.about,
            "datasource": SOURCE,
            "gridPos": {"x": x, "y": y, "w": self.width, "h": self.height},
            "fieldConfig": {"defaults": self._defaults(), "overrides": []},
            "options": self._options(),
            "targets": [
                {
                    "refId": chr(ord("A") + index),
                    "datasource": SOURCE,
                    "expr": query.expression,
                    "legendFormat": query.legend or "__auto",
                    "instant": self.kind != "timeseries",
                    "range": self.kind == "timeseries",
                }
                for index, query in enumerate(self.queries)
            ],
            "links": [
                {"title": f"What to do: {alert}", "url": f"${{docs}}/{page_of(alert)}", "targetBlank": True}
                for alert in self.alerts
            ],
        }

    @property
    def height(self) -> int:
        return STAT_HEIGHT if self.kind == "stat" else GRAPH_HEIGHT

    def _defaults(self) -> Object:
        defaults: Object = {"unit": self.unit, "thresholds": {"mode": "absolute", "steps": self._steps()}}
        if self.kind == "timeseries":
            defaults["custom"] = {
                "fillOpacity": 20 if self.stacked else 8,
                "lineWidth": 2,
                "showPoints": "never",
                "thresholdsStyle": {"mode": "line" if self.limits else "off"},
                "stacking": {"mode": "normal" if self.stacked else "none"},
            }
            defaults["min"] = 0
            defaults["color"] = {"mode": "palette-classic"}
        return defaults

    def _steps(self) -> list[Object]:
        if not self.limits:
            return [{"color": GREEN, "value": None}]
        worse = [YELLOW, RED][-len(self.limits) :]
        if not self.falling:
            steps = [(None, GREEN), *zip(self.limits, worse, strict=True)]
        else:
            colors = [GREEN, *worse]
            steps = [(None, colors[-1]), *zip(sorted(self.limits), reversed(colors[:-1]), strict=True)]
        return [{"color": color, "value": value} for value, color in steps]

    def _options(self) -> Object:
        if self.kind == "timeseries":
            return {
                "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True},
                "tooltip": {"mode": "multi", "sort": "desc"},
            }
        shown: Object = {"reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False}}
        if self.kind == "stat":
            return shown | {"colorMode": "background", "graphMode": "none", "textMode": "auto"}
        return shown | {"orientation": "horizontal", "displayMode": "basic", "showUnfilled": True}


@dataclass(frozen=True, slots=True)
class Dashboard:
    """`variables`: label → metric whose values of it may be chosen from."""

    uid: str
    title: str
    about: str
    panels: Sequence[Panel]
    variables: Mapping[str, str] = field(default_factory=dict)

    def document(self) -> Object:
        return {
            "uid": self.uid,
            "title": self.title,
            "description": self.about,
            "tags": ["flit-risk"],
            "schemaVersion": 39,
            "editable": False,
            "graphTooltip": 1,
            "refresh": "15s",
            "time": {"from": "now-1h", "to": "now"},
            "timezone": "browser",
            "links": [
                {"type": "dashboards", "title": "Flit Risk", "tags": ["flit-risk"], "asDropdown": True,
                 "includeVars": False, "keepTime": True},
            ],
            "templating": {"list": [*_GIVEN, *(_choice(name, metric) for name, metric in self.variables.items())]},
            "panels": self._placed(),
        }  # fmt: skip

    def _placed(self) -> list[Object]:
        """Side by side as long as they fit, then in the next row."""
        placed: list[Object] = []
        x = y = row = 0
        for number, panel in enumerate(self.panels, 1):
            if x + panel.width > COLUMNS:
                x, y, row = 0, y + row, 0
            placed.append(panel.document(number, x, y))
            x, row = x + panel.width, max(row, panel.height)
        return placed


DOCS = "http://127.0.0.1:8090"
"""Where `mkdocs serve` shows them (mkdocs.yml)."""


def page_of(alert: str) -> str:
    """Of the site, the page of its run-book."""
    return f"operations/runbooks/{alert}.html"


_GIVEN: list[Object] = [
    {"name": "datasource", "type": "datasource", "query": "prometheus", "label": "Prometheus", "hide": 0},
    {
        "name": "docs",
        "type": "textbox",
        "label": "Documentation",
        "query": DOCS,
        "current": {"text": DOCS, "value": DOCS},
        "hide": 0,
    },
]
"""Of every dashboard. `docs`: where the pages of docs/ are served, for the links to run-books."""


def _choice(label: str, metric: str) -> Object:
    return {
        "name": label,
        "type": "query",
        "label": label,
        "datasource": SOURCE,
        "query": {"query": f"label_values({metric}, {label})", "refId": label},
        "definition": f"label_values({metric}, {label})",
        "refresh": 2,
        "sort": 1,
        "multi": True,
        "includeAll": True,
        "allValue": ".*",
        "current": {"text": "All", "value": "$__all"},
    }


def quantiles(metric: str, by: str = "", labels: str = "") -> list[Query]:
    """p50, p95 and p99 of a histogram. `by`: a label to keep apart."""
    kept = f"le, {by}" if by else "le"
    name = f" {{{{{by}}}}}" if by else ""
    return [
        Query(
            f"histogram_quantile({share}, sum by ({kept}) (rate({metric}_bucket{{{labels}}}[$__rate_interval])))",
            f"p{round(share * 100)}{name}",
        )
        for share in (0.5, 0.95, 0.99)
    ]
