"""Where nodes and edges of a diagram lie: in columns from left to right, as few crossings as a few sweeps find.

After Sugiyama, Tagawa and Toda (1981): columns by the longest way from a source, long edges cut by bends in the columns
between, order within a column by the mean place of the neighbours. Where there are groups, each is a column.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

from deploy.documentation.diagrams.reading import Diagram, Edge, Node

CHARACTER, LINE = 7.0, 17.0
"""Width of a letter and height of a line, in pixels, of 13-pixel sans-serif: a little more than most take."""
PADDING, ROW_GAP, COLUMN_GAP = 12.0, 26.0, 48.0
POINT = 14.0
GROUP_PADDING, GROUP_TITLE = 16.0, 24.0
SWEEPS = 8
"""After so many, orders of diagrams of a page's size have long settled."""


@dataclass
class Box:
    """Of a node, or of a group. `x`, `y`: its middle."""

    x: float
    y: float
    width: float
    height: float


@dataclass
class Placed:
    diagram: Diagram
    boxes: dict[str, Box]
    frames: dict[str, Box]
    """Of the groups."""
    ways: list[tuple[Edge, list[tuple[float, float]]]]
    """Each edge, and the bends between its ends."""
    width: float
    height: float


def placed(diagram: Diagram) -> Placed:
    columns_of = _columns(diagram)
    columns: list[list[str]] = [[] for _ in range(max(columns_of.values()) + 1)]
    for name in diagram.nodes:
        columns[columns_of[name]].append(name)
    bends = _cut(diagram, columns_of, columns)
    _order(columns, _neighbours(diagram, bends))
    sizes = {name: _size(node) for name, node in diagram.nodes.items()}
    boxes = _coordinates(diagram, columns, sizes)
    frames = {group: _frame(diagram, group, boxes) for group in diagram.groups}
    ways = [(edge, [(boxes[bend].x, boxes[bend].y) for bend in bends[i]]) for i, edge in enumerate(diagram.edges)]
    around = [*boxes.values(), *frames.values()]
    left, top = min(box.x - box.width / 2 for box in around), min(box.y - box.height / 2 for box in around)
    for box in around:
        box.x, box.y = box.x - left + PADDING, box.y - top + PADDING
    ways = [(edge, [(x - left + PADDING, y - top + PADDING) for x, y in way]) for edge, way in ways]
    width = max(box.x + box.width / 2 for box in around) + PADDING
    height = max(box.y + box.height / 2 for box in around) + PADDING
    return Placed(diagram, {name: boxes[name] for name in diagram.nodes}, frames, ways, width, height)


def _columns(diagram: Diagram) -> dict[str, int]:
    if diagram.groups:
        order = list(diagram.groups)
        return {name: order.index(node.group) if node.group else 0 for name, node in diagram.nodes.items()}
    forward = _without_cycles(diagram)
    column = dict.fromkeys(diagram.nodes, 0)
    for _ in diagram.nodes:  # the longest way has no more steps than there are nodes
        for source, target in forward:
            column[target] = max(column[target], column[source] + 1)
    return column


def _without_cycles(diagram: Diagram) -> list[tuple[str, str]]:
    """The edges without those that lead back to a node on the way to their source."""
    leads_to: dict[str, list[str]] = {name: [] for name in diagram.nodes}
    for edge in diagram.edges:
        if edge.source in leads_to and edge.target in leads_to:
            leads_to[edge.source].append(edge.target)
    forward: list[tuple[str, str]] = []
    done: set[str] = set()

    def follow(name: str, way: frozenset[str]) -> None:
        if name in done:
            return
        for other in leads_to[name]:
            if other not in way:
                forward.append((name, other))
                follow(other, way | {other})
        done.add(name)

    for name in diagram.nodes:
        follow(name, frozenset({name}))
    return forward


def _cut(diagram: Diagram, columns_of: dict[str, int], columns: list[list[str]]) -> list[list[str]]:
    """For each edge the names of its bends, from source to target, which are put into the columns between."""
    bends: list[list[str]] = []
    for i, edge in enumerate(diagram.edges):
        if edge.source not in columns_of or edge.target not in columns_of:
            bends.append([])
            continue
        source, target = columns_of[edge.source], columns_of[edge.target]
        step = 1 if target > source else -1
        between = list(range(source + step, target, step)) if source != target else []
        names = [f"{i}>{column}" for column in between]
        for name, column in zip(names, between, strict=True):
            columns[column].append(name)
        bends.append(names)
    return bends


def _neighbours(diagram: Diagram, bends: list[list[str]]) -> dict[str, list[str]]:
    beside: dict[str, list[str]] = {}
    for edge, way in zip(diagram.edges, bends, strict=True):
        stops = [edge.source, *way, edge.target]
        for one, other in pairwise(stops):
            beside.setdefault(one, []).append(other)
            beside.setdefault(other, []).append(one)
    return beside


def _order(columns: list[list[str]], beside: dict[str, list[str]]) -> None:
    """Sort each column by where its neighbours lie, from left to right and back."""
    for sweep in range(SWEEPS):
        for column in columns if sweep % 2 == 0 else reversed(columns):
            place = {name: (i + 0.5) / len(each) for each in columns for i, name in enumerate(each)}
            mean = {}
            for name in column:
                known = [place[other] for other in beside.get(name, ()) if other in place and other not in column]
                mean[name] = sum(known) / len(known) if known else place[name]
            column.sort(key=lambda name: mean[name])


def _size(node: Node) -> tuple[float, float]:
    if node.shape == "point":
        return POINT, POINT
    letters = max(len(line) for line in node.lines)
    return letters * CHARACTER + 2 * PADDING, len(node.lines) * LINE + PADDING + (
        PADDING if node.shape == "store" else 0
    )


def _coordinates(diagram: Diagram, columns: list[list[str]], sizes: dict[str, tuple[float, float]]) -> dict[str, Box]:
    heights = [sum(_height(name, sizes) + ROW_GAP for name in column) for column in columns]
    boxes: dict[str, Box] = {}
    x = 0.0
    for i, column in enumerate(columns):
        width = max((sizes[name][0] for name in column if name in sizes), default=0.0)
        if diagram.groups:
            width = max(width, len(list(diagram.groups.values())[i]) * CHARACTER / 2)
        y = -heights[i] / 2
        for name in column:
            height = _height(name, sizes)
            boxes[name] = Box(x + width / 2, y + height / 2, sizes.get(name, (0.0, 0.0))[0], height)
            y += height + ROW_GAP
        x += width + COLUMN_GAP + _room_for_labels(diagram, column)
    return boxes


def _height(name: str, sizes: dict[str, tuple[float, float]]) -> float:
    return sizes[name][1] if name in sizes else LINE


def _room_for_labels(diagram: Diagram, column: list[str]) -> float:
    """What the longest label of the edges that begin in a column needs beyond the usual gap."""
    lines = [line for edge in diagram.edges if edge.source in column for line in edge.lines]
    return max((len(line) for line in lines), default=0) * CHARACTER * 0.8


def _frame(diagram: Diagram, group: str, boxes: dict[str, Box]) -> Box:
    inside = [boxes[name] for name, node in diagram.nodes.items() if node.group == group]
    left, right = min(box.x - box.width / 2 for box in inside), max(box.x + box.width / 2 for box in inside)
    top, bottom = min(box.y - box.height / 2 for box in inside), max(box.y + box.height / 2 for box in inside)
    rows = len(title_lines(diagram.groups[group]))
    top -= rows * LINE + GROUP_PADDING
    width = max(right - left, max(len(line) for line in title_lines(diagram.groups[group])) * CHARACTER)
    return Box((left + right) / 2, (top + bottom + GROUP_PADDING) / 2, width + 2 * GROUP_PADDING,
               bottom + GROUP_PADDING - top)  # fmt: skip


def title_lines(title: str) -> list[str]:
    """A group's title, in lines of about the width of its nodes."""
    lines = [""]
    for word in title.split():
        if len(lines[-1]) + len(word) > 30:
            lines.append("")
        lines[-1] = f"{lines[-1]} {word}".strip()
    return lines
