"""Diagrams in Mermaid's language, drawn as SVG while the site is built.

Git hosts draw Mermaid themselves. The site can't: Mermaid is a program that a browser would fetch from elsewhere. So
the part of its language that these documents use (flowcharts from left to right, with shapes, labels and subgraphs, and
state diagrams) is read and drawn here; anything else is refused, rather than drawn wrongly.
"""

from __future__ import annotations

from deploy.documentation.diagrams.drawing import svg
from deploy.documentation.diagrams.layout import placed
from deploy.documentation.diagrams.reading import NoDiagram, read

__all__ = ["NoDiagram", "figure"]


def figure(text: str) -> str:
    """A block of HTML. Raises NoDiagram where the text isn't one that can be drawn."""
    return f'<div class="diagram">{svg(placed(read(text)))}</div>'
