"""A look as one page without outside files."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence
from datetime import date, timedelta

import plotly.graph_objects as go

from services.trainer.monitoring.alarms import WEEK, Finding
from services.trainer.monitoring.look import Look, concerns
from services.trainer.monitoring.performance import Period
from services.trainer.monitoring.reference import Reference
from services.trainer.monitoring.state import matured
from services.trainer.pages import document, drawn

_STYLE = (
    "body{font:15px/1.5 sans-serif;max-width:64rem;margin:2rem auto}th{text-align:left;padding-right:1.5rem}"
    "td{padding-right:1.5rem;white-space:nowrap}.wide{overflow-x:auto}.alarm{color:#b00020;font-weight:bold}"
)

SHOWN_PERIODS = 30
"""Weeks: half a year and more than can be read from the warehouse at once."""


def page(look: Look, reference: Reference, evidently: str | None) -> str:
    """`evidently`: file name of its report beside this one, where there is one."""
    title = html.escape(f"Model {look.model_version} as of {look.as_of[:10]}")
    since, until = (moment[:10] for moment in reference.span)
    said = (
        f"{look.purchases:,} purchases in the last whole week, compared with {look.reference_rows:,} of {since} to "
        f"{until}, when the model was judged."
    )
    link = f'<p>Distributions in detail: <a href="{html.escape(evidently)}">evidently</a></p>' if evidently else ""
    charts = [_scores(look), _figure(look, "auc", "AUC"), _figure(look, "log_loss", "Log-loss (nats)")]
    charts.append(_figure(look, "profit_bp", "Profit (basis points of the volume)"))
    scores, *performance = drawn(charts)
    return document(
        title,
        _STYLE,
        f"<p>{said}</p>{_concerns(look)}"
        f"<h2>What comes in</h2>{scores}{link}{_findings(look.drift)}"
        f"<h2>What it was worth, and what was expected</h2>{''.join(performance)}{_periods(look)}"
        f"<h2>Kept promises</h2>{_losses(look)}<h2>Soundness</h2>{_soundness(look)}",
    )


def _concerns(look: Look) -> str:
    found = concerns(look)
    if not found:
        return "<p>Nothing to worry about.</p>"
    items = "".join(
        f"<li class=alarm>{html.escape(concern)}<ul>{_items(reasons)}</ul></li>" for concern, reasons in found.items()
    )
    return f"<ul>{items}</ul>"


def _items(lines: Iterable[str]) -> str:
    return "".join(f"<li>{html.escape(line)}</li>" for line in lines)


def _scores(look: Look) -> go.Figure:
    weekly = sorted((each for each in look.drift if each.days == WEEK), key=lambda each: each.score)
    chart = go.Figure(
        go.Bar(
            x=[each.score for each in weekly],
            y=[f"{each.kind} {each.name}" for each in weekly],
            orientation="h",
            marker_color=["#b00020" if each.alarm else "#4a6fa5" for each in weekly],
        )
    )
    if weekly:
        chart.add_vline(x=weekly[0].threshold, line_dash="dash")
    chart.update_layout(
        title="Population stability index over the last week; beyond the line, and beyond chance: an alarm (red)",
        height=200 + 18 * len(weekly),
    )
    chart.update_yaxes(automargin=True)
    return chart


def _figure(look: Look, name: str, title: str) -> go.Figure:
    """By week: the estimate with twice its error, and what was realized of the same purchases."""
    weeks = [each for each in look.periods if each.kind == "week"][-SHOWN_PERIODS:]
    chart = go.Figure()
    for version in dict.fromkeys(each.model_version for each in weeks):
        mine = [each for each in weeks if each.model_version == version]
        said = [getattr(each.on_matured or each.estimate, name) for each in mine]
        chart.add_scatter(
            x=[_day(each.first_day) for each in mine],
            y=[each.value for each in said],
            error_y={"type": "data", "array": [2 * each.error for each in said]},
            mode="lines+markers",
            name=f"estimated, {version}",
        )
        known = [each for each in mine if each.realized is not None]
        chart.add_scatter(
            x=[_day(each.first_day) for each in known],
            y=[getattr(each.realized, name) for each in known],
            mode="markers",
            marker={"size": 9, "symbol": "diamond"},
            name=f"realized, {version}",
        )
    chart.update_layout(title=f"{title} by week of the purchase")
    return chart


def _findings(drift: Sequence[Finding]) -> str:
    ranked = sorted(drift, key=lambda each: (not each.alarm, -each.score))
    rows = [
        (
            each.alarm,
            [
                f"{each.kind} {each.name}", f"{each.days} d", each.against, f"{each.rows:,}", f"{each.score:.4f}",
                f"{each.threshold:g}", f"{each.jensen_shannon:.4f}", f"{each.p_value:.1e}",
            ],
        )
        for each in ranked
    ]  # fmt: skip
    names = ("", "window", "against", "purchases", "stability index", "floor", "Jensen-Shannon (bits)", "p")
    return f"<details><summary>All {len(rows)} comparisons</summary>{_table(names, rows)}</details>"


def _periods(look: Look) -> str:
    rows = [(False, _period(each)) for each in look.periods if each.kind == "four weeks"]
    names = (
        "four weeks from", "model", "lent", "matured", "AUC realized", "estimated", "error of the estimate",
        "log-loss realized", "estimated", "Brier", "calibration error", "slope", "profit realized (bp)", "estimated",
    )  # fmt: skip
    return _table(names, rows)


def _period(each: Period) -> list[str]:
    found, said = each.realized, each.on_matured or each.estimate
    error = "" if each.error is None else f"{each.error:+.4f} ± {said.auc.error:.4f}"
    blank = ""
    return [
        _day(each.first_day),
        each.model_version,
        f"{each.estimate.rows:,}",
        f"{matured(each) / each.estimate.rows:.0%}",
        blank if found is None else f"{found.auc:.4f}",
        f"{said.auc.value:.4f}",
        error,
        blank if found is None else f"{found.log_loss:.4f}",
        f"{said.log_loss.value:.4f}",
        blank if found is None else f"{found.brier:.4f}",
        blank if found is None else f"{found.ece:.4f}",
        blank if found is None else f"{found.calibration_slope:.2f}",
        blank if found is None else f"{found.profit_bp:+.1f}",
        f"{said.profit_bp.value:+.1f}",
    ]


def _losses(look: Look) -> str:
    rows = [
        (each.alarm, [each.kind, _day(each.first_day), f"{each.evidence:.2f}", f"{each.needed:.2f}", each.what])
        for each in look.losses
    ]
    return _table(("", "purchases from", "evidence", "needed", ""), rows)


def _soundness(look: Look) -> str:
    fresh, quality = look.freshness, look.quality
    ages = [(f"age of a purchase when decided, {share:.0%}", f"{age:,.3g} s") for share, age in fresh.age_s.items()]
    mismatch = "nothing was recomputed"
    if quality.mismatch_share is not None:
        mismatch = f"{quality.mismatch_share:.3%} of {quality.recomputed:,}"
    lines = [
        ("decisions", f"{fresh.decisions:,}"),
        *ages,
        ("decided by a fallback", f"{fresh.degraded_share:.2%} {_counted(fresh.degraded.items())}"),
        ("dead letters", f"{quality.dead_share:.3%} of the decisions {_counted(quality.dead_letters.items())}"),
        ("vectors that a recomputation didn't confirm", mismatch),
        (
            "loans that ran their course lately without an outcome",
            f"{quality.outcomes_lacking:,} of {quality.loans_over:,}",
        ),
        (
            "likewise, since their source told last",
            _counted((each.source, each.loans) for each in quality.silent) or "0",
        ),
    ]
    return _table(("", ""), [(False, list(line)) for line in lines])


def _counted(items: Iterable[tuple[str, int]]) -> str:
    said = ", ".join(f"{name} {count:,}" for name, count in items)
    return f"({said})" if said else ""


def _table(names: Sequence[str], rows: Iterable[tuple[bool, Sequence[str]]]) -> str:
    head = "".join(f"<th>{html.escape(name)}</th>" for name in names)
    lines = "".join(
        f"<tr{' class=alarm' if alarm else ''}>{''.join(f'<td>{html.escape(cell)}</td>' for cell in cells)}</tr>"
        for alarm, cells in rows
    )
    return f"<div class=wide><table><tr>{head}</tr>{lines}</table></div>"


def _day(day: int) -> str:
    return str(date(1970, 1, 1) + timedelta(days=day))
