"""Reports as pages without outside files: what they need, their charts' script too, is in them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from plotly.graph_objects import Figure


def document(title: str, style: str, body: str) -> str:
    """The whole page, its title as the first heading. `title`, `body`: HTML, escaped already. `style`: CSS."""
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title><style>{style}</style>'
        f"<h1>{title}</h1>{body}</html>"
    )


def drawn(charts: Iterable[Figure]) -> list[str]:
    """Each chart for one page, in this order: the first brings the script that all need."""
    return [
        chart.to_html(full_html=False, include_plotlyjs="inline" if number == 0 else False)
        for number, chart in enumerate(charts)
    ]
