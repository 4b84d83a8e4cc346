"""A backtest as figures for machines and as a page for people."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from typing import Any

import plotly.graph_objects as go

from services.trainer.pages import document, drawn
from shared.contracts.events import Verdict
from shared.policy.backtest import EVERYTHING, VERDICTS, Group, Side

CENTS = 100
COLOURS = {Verdict.APPROVE: "#2a9d8f", Verdict.REVIEW: "#e9c46a", Verdict.DECLINE: "#d1495b"}

Groups = Mapping[tuple[str, str], Group]


def figures(groups: Groups) -> dict[str, Any]:
    """JSON values: of all purchases, and `segments` by dimension and value. Money in US dollars' size."""
    segments: dict[str, dict[str, Any]] = {}
    for (dimension, value), group in sorted(groups.items()):
        if dimension != EVERYTHING:
            segments.setdefault(dimension, {})[value] = _group(group)
    return {**_group(groups[EVERYTHING, ""]), "segments": segments}


def _group(group: Group) -> dict[str, Any]:
    return {
        "purchases": group.purchases,
        "volume_usd": round(float(group.cents) / CENTS, 2),
        "changed": group.changed,
        "customers_affected": len(group.customers),
        "moves": {f"{one.value} to {other.value}": count for (one, other), count in sorted(group.moves.items())},
        "logged": _side(group.logged, group),
        "proposed": _side(group.proposed, group),
    }


def _side(side: Side, group: Group) -> dict[str, Any]:
    return {
        "approval_rate": side.approved / group.purchases if group.purchases else None,
        "approved_usd": round(float(side.approved_cents) / CENTS, 2),
        "expected_loss_usd": round(float(side.expected_loss_cents) / CENTS, 2),
        "with_known_outcome": side.known,
        "known_by_review": side.known_by_review,
        "default_rate": side.default_rate,
        "profit_usd": round(float(side.profit_cents) / CENTS, 2),
        "profit_bp": side.profit_bp,
    }


def page(title: str, found: Mapping[str, Any], groups: Groups, curve: Sequence[tuple[float, float]]) -> str:
    """One page without outside files: its script is in it."""
    charts = [_curve(curve), _moves(groups[EVERYTHING, ""])]
    charts += [_approvals(dimension, values) for dimension, values in found["segments"].items()]
    rows = "".join(
        f"<tr><th>{name.replace('_', ' ')}</th><td>{_shown(found['logged'][name])}</td>"
        f"<td>{_shown(found['proposed'][name])}</td></tr>"
        for name in found["logged"]
    )
    customers = f"of {found['customers_affected']:,} customers"
    said = (
        f"{found['changed']:,} of {found['purchases']:,} decisions change, {customers}. "
        "Profit counts purchases with a known outcome alone: what was declined has none, but for what chance let "
        "through, which stands for its kind. Limits of customers, and what held decisions back, are those of then."
    )
    table = f"<table><tr><th></th><th>as logged</th><th>as proposed</th></tr>{rows}</table>"
    style = "body{font:15px/1.5 sans-serif;max-width:60rem;margin:2rem auto}th{text-align:left;padding-right:2rem}"
    name = html.escape(title)
    return document(name, style, f"<p>{said}</p>{table}{''.join(drawn(charts))}")


def _shown(value: Any) -> str:
    if value is None:
        return "unknown"
    return f"{value:,.4g}" if isinstance(value, float) and abs(value) < 1 else f"{value:,}"


def _curve(points: Sequence[tuple[float, float]]) -> go.Figure:
    chart = go.Figure(go.Scatter(x=[p for p, _ in points], y=[earned for _, earned in points], mode="lines"))
    chart.update_layout(
        title="What approving up to a probability of default earns",
        xaxis={"title": "approve up to", "tickformat": ".1%"},
        yaxis={"title": "basis points of the volume"},
    )
    return chart


def _moves(group: Group) -> go.Figure:
    bars = [
        go.Bar(
            name=f"now {proposed.value}",
            x=[f"was {logged.value}" for logged in VERDICTS],
            y=[group.moves.get((logged, proposed), 0) for logged in VERDICTS],
            marker_color=COLOURS[proposed],
        )
        for proposed in VERDICTS
    ]
    chart = go.Figure(bars)
    chart.update_layout(title="Decisions", barmode="stack", yaxis={"title": "purchases"})
    return chart


def _approvals(dimension: str, values: Mapping[str, Any]) -> go.Figure:
    names = list(values)
    chart = go.Figure(
        [
            go.Bar(name=side, x=names, y=[values[name][side]["approval_rate"] for name in names])
            for side in ("logged", "proposed")
        ]
    )
    chart.update_layout(title=f"Approval rate by {dimension}", barmode="group", yaxis={"tickformat": ".0%"})
    return chart
