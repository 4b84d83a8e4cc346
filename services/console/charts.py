"""Charts: figures with units and labels, and beside each what it shows in a sentence. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

import plotly.graph_objects as go

from services.console import wording
from services.console.views.decision import Explained
from services.console.views.live import VERDICTS, Mix

COLOURS = {"approve": "#2a9d8f", "review": "#e9c46a", "decline": "#d1495b"}
"""As in the trainer's reports."""

EDGES = {"approve": "#1d6f65", "review": "#8a6d1d", "decline": "#9a2f40"}
"""Around bars of these colours, for one of them hardly stands out from white."""

LINES = ("#1f6f78", "#d1495b", "#8a6d1d", "#4f6d8f", "#7a5c8e")
"""One after the other, and again from the first: what is told apart by its name as well."""

RAISED, LOWERED, NEUTRAL = "#d1495b", "#2a9d8f", "#6b7885"
DRIFTED = "{} (drifted)"
"""The label of such a feature: its colour alone doesn't tell everybody."""

HEIGHT = 300
BAR_HEIGHT = 28
"""Pixels of a horizontal bar with its label: a finger's width apart."""

CONFIG = {"displayModeBar": False, "scrollZoom": False}
"""No tool bar over a small chart, and a finger scrolls the page, not the chart."""


def _laid_out(figure: go.Figure, *, x: str, y: str, height: int = HEIGHT) -> go.Figure:
    figure.update_layout(
        height=height,
        margin={"l": 8, "r": 8, "t": 8, "b": 8},
        xaxis={"title": x, "automargin": True, "fixedrange": True},
        yaxis={"title": y, "automargin": True, "fixedrange": True},
        legend={"orientation": "h", "y": -0.25, "x": 0},
        colorway=LINES,
    )
    return figure


def mix(found: Mix) -> tuple[go.Figure, str]:
    figure = go.Figure(
        [
            go.Bar(
                name=wording.VERDICTS[verdict],
                x=[bar.begins for bar in found.bars],
                # None rather than 0, whose edge would be seen as a line.
                y=[bar.counts[verdict] or None for bar in found.bars],
                marker={"color": COLOURS[verdict], "line": {"color": EDGES[verdict], "width": 1}},
            )
            for verdict in VERDICTS
        ]
    )
    figure.update_layout(barmode="stack", bargap=0.1)
    said = ", ".join(f"{found.counts[verdict]:,} {wording.VERDICTS[verdict]}" for verdict in VERDICTS)
    return _laid_out(figure, x="time of the decision (UTC)", y="decisions"), f"Decisions over time: {said}."


def contributions(explained: Explained) -> tuple[go.Figure, str]:
    """From the base value to the raw log-odds, the weightiest step at the top."""
    bars = list(reversed(explained.bars))
    labels = [
        wording.feature(bar.label)
        if bar.value is None
        else f"{wording.feature(bar.label)} = {wording.number(bar.value)}"
        for bar in bars
    ]
    figure = go.Figure(
        go.Bar(
            orientation="h",
            x=[bar.contribution for bar in bars],
            y=labels,
            marker_color=[RAISED if bar.contribution > 0 else LOWERED for bar in bars],
            text=[f"{bar.contribution:+.2f}" for bar in bars],
            textposition="outside",
            cliponaxis=False,
        )
    )
    top = explained.bars[0]
    word = "raised" if top.contribution > 0 else "lowered"
    said = f"{wording.feature(top.label)} {word} the risk most, by {abs(top.contribution):.2f} log-odds."
    height = BAR_HEIGHT * len(bars) + 90
    laid_out = _laid_out(figure, x="contribution to the risk (log-odds)", y="", height=height)
    laid_out.update_layout(margin_r=40)  # for the figure beside the longest bar
    return laid_out, said


def scores(found: Mapping[str, float], drifted: Sequence[str], score: str) -> tuple[go.Figure, str]:
    """Drift by feature, the largest at the top. `score`: what the figures are."""
    names = list(found)[::-1]
    figure = go.Figure(
        go.Bar(
            orientation="h",
            x=[found[name] for name in names],
            y=[(DRIFTED if name in drifted else "{}").format(wording.feature(name)) for name in names],
            marker_color=[RAISED if name in drifted else NEUTRAL for name in names],
        )
    )
    said = f"{len(drifted)} of {len(found)} features have drifted."
    height = BAR_HEIGHT * len(names) + 90
    return _laid_out(figure, x=score, y="", height=height), said


def course(points: Sequence[tuple[datetime, float]], *, y: str) -> tuple[go.Figure, str]:
    figure = go.Figure(go.Scatter(x=[at for at, _ in points], y=[value for _, value in points], mode="lines+markers"))
    figure.update_yaxes(rangemode="tozero")
    said = f"{y}: {len(points)} looks, the last {points[-1][1]:.3g}."
    return _laid_out(figure, x="time of the look (UTC)", y=y), said


def performance(lines: Mapping[str, Sequence[tuple[datetime, float]]]) -> tuple[go.Figure, str]:
    """AUC by window, a line for each version."""
    figure = go.Figure(
        [
            go.Scatter(name=name, x=[at for at, _ in points], y=[value for _, value in points], mode="lines+markers")
            for name, points in lines.items()
        ]
    )
    said = f"AUC on matured outcomes over time, of {len(lines)} models."
    return _laid_out(figure, x="end of the window (UTC)", y="AUC"), said


def by_day(found: Mapping[str, Sequence[tuple[datetime, int]]]) -> tuple[go.Figure, str]:
    figure = go.Figure(
        [
            go.Bar(name=reason, x=[f"{day:%Y-%m-%d}" for day, _ in days], y=[letters for _, letters in days])
            for reason, days in found.items()
        ]
    )
    figure.update_layout(barmode="stack")
    figure.update_xaxes(type="category", categoryorder="category ascending")
    total = sum(letters for days in found.values() for _, letters in days)
    return _laid_out(figure, x="day (UTC)", y="refused records"), f"{total:,} refused records by day and reason."


def profit(curve: Sequence[tuple[float, float]], limits: Mapping[str, float]) -> tuple[go.Figure, str]:
    """What approving up to a probability of default earns. `limits`: probabilities to mark, by what they are."""
    figure = go.Figure(go.Scatter(x=[p for p, _ in curve], y=[earned for _, earned in curve], mode="lines"))
    for number, (name, probability) in enumerate(limits.items()):
        figure.add_vline(
            x=probability, line_dash="dot", line_color=NEUTRAL, annotation_text=name,
            annotation_position="top right" if number % 2 else "top left",
        )  # fmt: skip
    best = max(curve, key=lambda point: point[1])
    said = f"Earns most, {best[1]:.0f} basis points of the volume, where all up to {best[0]:.1%} are approved."
    figure.update_xaxes(tickformat=".0%")
    return _laid_out(figure, x="approve up to this probability of default", y="basis points of the volume"), said
