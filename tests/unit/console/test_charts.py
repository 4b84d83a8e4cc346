"""Charts can be read by whoever sees colours badly."""

from __future__ import annotations

from datetime import UTC, datetime

from services.console import charts
from services.console.views import live

WHITE = "#ffffff"
LEAST = 3.0
"""WCAG 2.2, 1.4.11: of what a graphic is understood by, against what lies beside it."""


def luminance(colour: str) -> float:
    """WCAG 2.2's relative luminance of an sRGB colour, 0 to 1."""
    channels = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    red, green, blue = (one / 12.92 if one <= 0.04045 else ((one + 0.055) / 1.055) ** 2.4 for one in channels)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    lighter, darker = sorted((luminance(one), luminance(other)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


def test_contrast_is_the_standards_own() -> None:
    assert round(contrast("#000000", WHITE), 2) == 21 and round(contrast("#767676", WHITE), 2) == 4.54


def test_bars_and_lines_stand_out_from_white() -> None:
    colours = (charts.RAISED, charts.LOWERED, charts.NEUTRAL, *charts.LINES, *charts.EDGES.values())
    assert {colour for colour in colours if contrast(colour, WHITE) < LEAST} == set()
    assert charts.EDGES.keys() == charts.COLOURS.keys()


def test_each_verdicts_bars_have_their_edge_and_a_bar_of_nothing_has_none() -> None:
    noon = datetime(2026, 6, 1, 12, tzinfo=UTC)
    counts = dict.fromkeys(live.VERDICTS, 0) | {"approve": 3}
    figure, _ = charts.mix(live.Mix([live.Bar(noon, counts)], counts, 0, 60))
    assert [bar.marker.line.color for bar in figure.data] == [charts.EDGES[verdict] for verdict in live.VERDICTS]
    assert all(bar.marker.line.width >= 1 for bar in figure.data)
    assert {verdict: bar.y[0] for verdict, bar in zip(live.VERDICTS, figure.data, strict=True)} == {
        "approve": 3, "review": None, "decline": None,
    }  # fmt: skip


def test_what_has_drifted_is_told_without_its_colour() -> None:
    figure, _ = charts.scores({"tenure_days": 0.4, "amount": 0.1}, ["tenure_days"], "index")
    assert list(figure.data[0].y) == ["amount", "tenure days (drifted)"]
