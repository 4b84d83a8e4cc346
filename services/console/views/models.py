"""Models side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from services.console.queries.query import Row
from services.console.registered import Description, Part

METRICS = {
    "auc": "AUC, test part",
    "brier": "Brier, test part",
    "ece": "ECE, test part",
    "log_loss": "Log loss, test part",
    "profit_bp": "Profit, basis points",
}
"""Of the manifest, those that a person compares; the card has all."""


def side_by_side(
    parts: Sequence[Part], known: Mapping[str, Description], evaluations: Sequence[Row], performance: Sequence[Row]
) -> dict[str, dict[str, str]]:
    """Version and part → what is told of it, by name. `evaluations`: on matured purchases. `performance`: live. The
    latest of both first."""
    matured, live = _first_of_each(evaluations), _first_of_each(performance)
    columns: dict[str, dict[str, str]] = {}
    for part in parts:
        description = known.get(part.version)
        column = {"Part": part.role}
        if description is not None:
            column |= {
                "Family": description.family,
                "Trained": description.trained_at[:10],
                "May decide": "yes" if description.explained else "no: it explains nothing",
                "Purchases seen": f"{description.rows:,}",
                "The first of": description.learnt_from,
                "The last of": description.learnt_until,
            }
            column |= {label: _figure(description.metrics.get(name)) for name, label in METRICS.items()}
        column["AUC, matured since"] = _figure((matured.get(part.version, {}).get("metrics") or {}).get("auc"))
        column["AUC, live"] = _figure(live.get(part.version, {}).get("auc"))
        name = part.version if part.version not in columns else f"{part.version} ({part.role})"
        columns[name] = column
    return columns


def as_table(columns: Mapping[str, Mapping[str, str]]) -> list[dict[str, str]]:
    """A row for each thing that is told, a column for each version: which reads on a phone as well."""
    names = list(dict.fromkeys(name for column in columns.values() for name in column))
    return [{"": name} | {version: column.get(name, "–") for version, column in columns.items()} for name in names]


def _first_of_each(rows: Sequence[Row]) -> dict[str, Row]:
    found: dict[str, Row] = {}
    for row in rows:
        found.setdefault(row["model_version"], row)
    return found


def _figure(value: Any) -> str:
    return "–" if not isinstance(value, int | float) else f"{value:.4g}"
