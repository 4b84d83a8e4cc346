"""A placed diagram as SVG, in the colours of the page that it stands on."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from itertools import pairwise

from deploy.documentation.diagrams.layout import LINE, Box, Placed, title_lines
from deploy.documentation.diagrams.reading import Edge, Node

_STYLE = 'font-family="sans-serif" font-size="13" fill="currentColor" stroke="none" text-anchor="middle"'
_FILL = 'fill="var(--md-code-bg-color, #f5f5f5)" stroke="currentColor"'
_HALO = 'paint-order="stroke" stroke="var(--md-default-bg-color, #fff)" stroke-width="4"'
_ARROW = (
    '<defs><marker id="arrow" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="8" markerHeight="8" '
    'orient="auto-start-reverse"><path d="M0 0L8 4L0 8z" fill="currentColor" stroke="none"/></marker></defs>'
)

LEAST = 0.7
"""Of its size, to which a diagram may shrink on a narrow page before it scrolls: its letters are 9 pixels then."""


def svg(placed: Placed) -> str:
    parts = [_ARROW]
    parts += [part for group, frame in placed.frames.items() for part in _frame(placed.diagram.groups[group], frame)]
    parts += [part for edge, bends in placed.ways for part in _edge(placed, edge, bends)]
    parts += [part for name, box in placed.boxes.items() for part in _node(placed.diagram.nodes[name], box)]
    width, height = round(placed.width), round(placed.height)
    said = ", ".join(" ".join(node.lines) for node in placed.diagram.nodes.values() if node.lines)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" aria-label="{escape(said)}"'
        f' style="width:100%;min-width:{width * LEAST:.0f}px;max-width:{width}px;color:inherit" fill="none">'
        f"{''.join(parts)}</svg>"
    )


def _node(node: Node, box: Box) -> Iterator[str]:
    left, top = box.x - box.width / 2, box.y - box.height / 2
    if node.shape == "point":
        yield f'<circle cx="{box.x:.0f}" cy="{box.y:.0f}" r="{box.width / 2:.0f}" fill="currentColor"/>'
        return
    radius = box.height / 2 if node.shape == "round" else 3
    size = f'width="{box.width:.0f}" height="{box.height:.0f}"'
    yield f'<rect x="{left:.0f}" y="{top:.0f}" {size} rx="{radius:.0f}" {_FILL}/>'
    if node.shape == "store":
        yield f'<path d="M{left:.0f} {top + 6:.0f}h{box.width:.0f}" stroke="currentColor"/>'
    yield from _text(node.lines, box.x, box.y)


def _frame(title: str, box: Box) -> Iterator[str]:
    left, top = box.x - box.width / 2, box.y - box.height / 2
    yield (
        f'<rect x="{left:.0f}" y="{top:.0f}" width="{box.width:.0f}" height="{box.height:.0f}" rx="6" '
        'stroke="currentColor" stroke-opacity="0.4" stroke-dasharray="4 3"/>'
    )
    lines = title_lines(title)
    yield from _text(lines, box.x, top + 8 + len(lines) * LINE / 2)


def _edge(placed: Placed, edge: Edge, bends: list[tuple[float, float]]) -> Iterator[str]:
    boxes = {**placed.frames, **placed.boxes}
    source, target = boxes[edge.source], boxes[edge.target]
    beside = source.x == target.x
    rightwards = 1 if target.x >= source.x else -1
    ends = [(source.x + rightwards * source.width / 2, source.y), *bends,
            (target.x - (-1 if beside else rightwards) * target.width / 2, target.y)]  # fmt: skip
    path = f"M{ends[0][0]:.0f} {ends[0][1]:.0f}"
    for (x, y), (to_x, to_y) in pairwise(ends):
        reach = 60 if beside else (to_x - x) / 2
        path += f"C{x + reach:.0f} {y:.0f} {to_x + (reach if beside else -reach):.0f} {to_y:.0f} {to_x:.0f} {to_y:.0f}"
    look = 'stroke="currentColor" marker-end="url(#arrow)"'
    look += ' marker-start="url(#arrow)"' * edge.both_ways + ' stroke-dasharray="3 4"' * edge.dotted
    yield f'<path d="{path}" {look}/>'
    if edge.lines:
        middle = len(ends) // 2
        (x, y), (to_x, to_y) = ends[middle - 1], ends[middle]
        yield from _text(edge.lines, (x + to_x) / 2 + (45 if beside else 0), (y + to_y) / 2, halo=True)


def _text(lines: list[str] | tuple[str, ...], x: float, y: float, *, halo: bool = False) -> Iterator[str]:
    top = y - (len(lines) - 1) * LINE / 2 + 4
    for i, line in enumerate(lines):
        more = f" {_HALO}" if halo else ""
        style = _STYLE.replace(' stroke="none"', "") if halo else _STYLE
        yield f'<text x="{x:.0f}" y="{top + i * LINE:.0f}" {style}{more}>{escape(line)}</text>'
