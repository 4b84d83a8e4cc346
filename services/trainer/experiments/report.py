"""An experiment's analysis as a page."""

from __future__ import annotations

import html
from collections.abc import Mapping
from typing import Any

import plotly.graph_objects as go

from services.trainer.pages import document, drawn

Course = list[tuple[int, float, float, float]]

_STYLE = (
    "body{font:15px/1.5 sans-serif;max-width:60rem;margin:2rem auto}th{text-align:left;padding-right:2rem}"
    "td{padding-right:1.5rem}.broken{color:#b00020;font-weight:bold}"
)


def page(found: Mapping[str, Any], courses: Mapping[str, Course]) -> str:
    """One page without outside files. `courses`: of each arm's decline rate less the champion's."""
    title = html.escape(f"Experiment {found['experiment']}")
    placed = found["assignment"]
    said = (
        f"{found['decisions']:,} decisions on {found['customers']:,} customers since {found['started_at']}. "
        f"Planned shares: p = {_shown(placed['p_value'])}; "
        f"{placed['customers_in_several_arms']} customers were in several arms."
    )
    mixed = "".join(
        f"<p class=broken>More than one model decided for {html.escape(arm)} ({_shown(models)}): its figures are of "
        "them all.</p>"
        for arm, models in found["several_models"].items()
    )
    charts = [_chart(arm, points) for arm, points in courses.items()]
    return document(
        title,
        _STYLE,
        f"<p>{said}</p>{mixed}<h2>Guardrails</h2>{_guardrails(found['guardrails'])}"
        f"<h2>Arms</h2>{_arms(found['arms'])}<h2>Against the champion</h2>{_against(found['against_champion'])}"
        f"{''.join(drawn(charts))}",
    )


def _guardrails(rows: list[Mapping[str, Any]]) -> str:
    lines = "".join(
        f"<tr{' class=broken' if row['broken'] else ''}><th>{html.escape(row['guardrail'])}</th>"
        f"<td>{html.escape(row['arm'])}</td><td>{_shown(row['evidence'])} of {_shown(row['needed'])}</td>"
        f"<td>{html.escape(row['what'])}</td></tr>"
        for row in rows
    )
    return f"<table><tr><th></th><th>arm</th><th>evidence (logarithm)</th><th></th></tr>{lines}</table>"


def _arms(arms: Mapping[str, Mapping[str, Any]]) -> str:
    shown = (
        "decisions", "customers", "approved", "declined", "reviewed", "fallback", "latency_ms", "approved_and_matured",
        "defaults", "expected_defaults", "calibration_error", "profit_bp",
    )  # fmt: skip
    head = "".join(f"<th>{html.escape(name)}</th>" for name in arms)
    lines = "".join(
        f"<tr><th>{name.replace('_', ' ')}</th>"
        + "".join(f"<td>{_shown(arm[name])}</td>" for arm in arms.values())
        + "</tr>"
        for name in shown
    )
    return f"<table><tr><th></th>{head}</tr>{lines}</table>"


def _against(arms: Mapping[str, Mapping[str, Any]]) -> str:
    lines = []
    for arm, found in arms.items():
        rows = {name: found[name] for name in ("approved", "declined")}
        rows |= {
            f"approved, {dimension} {group}": each
            for dimension, groups in found["approved_by"].items()
            for group, each in groups.items()
        }
        lines += [
            f"<tr><th>{html.escape(arm)}: {html.escape(name)}</th><td>{_shown(each['arm'])}</td>"
            f"<td>{_shown(each['champion'])}</td><td>{_span(each['always_valid'])}</td><td>{_span(each['fixed_95'])}</td></tr>"
            for name, each in rows.items()
        ]
        if (earned := found["profit_of_a_customer"]) is not None:
            lines.append(
                f"<tr><th>{html.escape(arm)}: profit of a customer, difference</th>"
                f"<td>{_shown(earned['difference'])}</td><td></td><td></td><td>{_span(earned['fixed_95'])}</td></tr>"
            )
    head = (
        "<th></th><th>arm</th><th>champion</th><th>difference, at any time</th><th>if the end was set beforehand</th>"
    )
    return f"<table><tr>{head}</tr>{''.join(lines)}</table>"


def _span(bounds: list[float] | None) -> str:
    return "" if bounds is None else f"{bounds[0]:+.3f} to {bounds[1]:+.3f}"


def _shown(value: Any) -> str:
    if value is None:
        return "unknown"
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_shown(inner)}" for name, inner in value.items())
    return f"{value:,.4g}" if isinstance(value, float) else f"{value:,}"


def _chart(arm: str, points: Course) -> go.Figure:
    customers = [point[0] for point in points]
    chart = go.Figure(
        [
            go.Scatter(
                x=customers, y=[point[3] for point in points], mode="lines", line={"width": 0}, showlegend=False
            ),
            go.Scatter(
                x=customers,
                y=[point[2] for point in points],
                mode="lines",
                line={"width": 0},
                fill="tonexty",
                name="bounds",
            ),
            go.Scatter(x=customers, y=[point[1] for point in points], mode="lines", name="difference"),
        ]
    )
    chart.update_layout(
        title=f"Declined: {arm} less champion, with bounds that hold at all times together",
        xaxis={"title": "customers"},
        yaxis={"tickformat": ".0%"},
    )
    return chart
