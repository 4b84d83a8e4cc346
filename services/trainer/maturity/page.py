"""Vintages and the early indicator as a page."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from typing import Any

import plotly.graph_objects as go

from services.trainer.maturity.proxy import EarlyRate
from services.trainer.maturity.vintages import Vintage
from services.trainer.pages import document, drawn

_STYLE = (
    "body{font:15px/1.5 sans-serif;max-width:64rem;margin:2rem auto}th{text-align:left;padding-right:1.5rem}"
    "td{text-align:right;padding-right:1.5rem}"
)


def page(as_of: str, counts: Mapping[str, int], found: Sequence[Vintage], early: Sequence[EarlyRate]) -> str:
    """One page without outside files: its script is in it."""
    plans = sorted({vintage.instalments for vintage in found})
    charts = [_chart(plan, [vintage for vintage in found if vintage.instalments == plan]) for plan in plans]
    said = ", ".join(f"{name} {count:,}" for name, count in counts.items())
    title = f"Label maturity as of {html.escape(as_of)}"
    return document(
        title,
        _STYLE,
        f"<p>Purchases: {said}. What is open or silent is neither good nor bad.</p>{''.join(drawn(charts))}"
        f"<h2>What the first payments say</h2>{_early(early)}<h2>Vintages</h2>{_table(found)}",
    )


def _chart(plan: int, of_plan: Sequence[Vintage]) -> go.Figure:
    chart = go.Figure(
        layout={
            "title": f"Known to have defaulted, {plan} instalments", "template": "simple_white",
            "xaxis": {"title": "days since the purchase"},
            "yaxis": {"title": "share of purchases", "tickformat": ".1%", "rangemode": "tozero"},
        }
    )  # fmt: skip
    for number, vintage in enumerate(of_plan):
        # From old (pale) to young (dark): the young ones are short, and what matters is whether they rise faster.
        shade = 0.25 + 0.75 * (number + 1) / len(of_plan)
        chart.add_scatter(
            x=[0, *(point.age_days for point in vintage.points)],
            y=[0.0, *(point.share for point in vintage.points)],
            name=vintage.begins,
            line={"color": f"rgba(38, 70, 83, {shade:.2f})"},
        )
    return chart


def _table(found: Sequence[Vintage]) -> str:
    shown = ("begins", "instalments", "purchases", "defaulted", "repaid", "open", "silent")
    rows = [
        [str(getattr(vintage, name)) for name in shown]
        + ["not yet known" if vintage.final is None else f"{vintage.final:.2%}"]
        for vintage in found
    ]
    return _rows([*shown, "share in the end"], rows)


def _early(early: Sequence[EarlyRate]) -> str:
    def shown(value: Any) -> str:
        return "" if value is None else f"{value:.2%}"

    rows = [
        [
            str(each.instalments), str(each.age_days), f"{each.settled:,}", shown(each.share_seen),
            shown(each.default_rate_of_others), shown(each.settled_rate), f"{each.recent:,}", shown(each.recent_rate),
            "" if each.standard_errors is None else f"{each.standard_errors:+.1f}", shown(each.projected_rate),
        ]
        for each in early
    ]  # fmt: skip
    head = [
        "instalments", "days", "settled purchases", "of their defaults seen by then", "of the others, defaulted later",
        "missed by then", "recent purchases", "missed by then", "standard errors above", "projected in the end",
    ]  # fmt: skip
    return _rows(head, rows)


def _rows(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    names = "".join(f"<th>{html.escape(name)}</th>" for name in head)
    lines = "".join("<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table><tr>{names}</tr>{lines}</table>"
