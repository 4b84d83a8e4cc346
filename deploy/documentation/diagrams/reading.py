"""Mermaid's text to nodes, edges and groups."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

_BREAK = re.compile(r"<br\s*/?>")
_NODE = re.compile(r"(?P<id>[\w-]*\w)(?:(?P<open>\(\[|\[\(|\[|\()\"?(?P<label>.*?)\"?(?P<close>\]\)|\)\]|\]|\)))?")
_SHAPES = {"([": "round", "[(": "store", "[": "box", "(": "round"}
_LABEL = r"\"[^\"]*\"|[^\">-]+?"
_ARROW = re.compile(
    rf"\s*(?P<back><)?(?:--(?:\s+(?P<solid>{_LABEL})\s+--)?>|-\.(?:\s+(?P<dotted>{_LABEL})\s+\.)?->)\s*"
)
_SUBGRAPH = re.compile(r"subgraph (?P<id>\w+)\[\"(?P<title>.*)\"\]$")
_TRANSITION = re.compile(r"(?P<source>\S+) --> (?P<target>[\w*\[\]]+)(?:: (?P<label>.*))?$")
START, END = "start", "end"
"""What `[*]` means as the source of a transition, and as its target."""


class NoDiagram(Exception):
    """Something of Mermaid's language that isn't drawn here."""


@dataclass
class Node:
    id: str
    lines: list[str]
    shape: str = "box"
    """`box`, `round`, `store` or `point`."""
    group: str | None = None


@dataclass(frozen=True)
class Edge:
    source: str
    target: str
    lines: tuple[str, ...] = ()
    dotted: bool = False
    both_ways: bool = False


@dataclass
class Diagram:
    nodes: dict[str, Node] = field(default_factory=dict)
    edges: list[Edge] = field(default_factory=list)
    groups: dict[str, str] = field(default_factory=dict)
    """Id → title, in the order in which they stand."""


def read(text: str) -> Diagram:
    lines = [line.strip() for line in text.strip().splitlines() if line.strip()]
    if lines[0] == "flowchart LR":
        return _flowchart(lines[1:])
    if lines[:2] == ["stateDiagram-v2", "direction LR"]:
        return _states(lines[2:])
    raise NoDiagram(f"can't draw {lines[0]!r}")


def _flowchart(lines: list[str]) -> Diagram:
    found, group = Diagram(), None
    for line in lines:
        subgraph = _SUBGRAPH.match(line)
        if subgraph:
            group = subgraph["id"]
            found.groups[group] = subgraph["title"]
        elif line == "end":
            group = None
        else:
            _chain(found, line, group)
    return found


def _chain(found: Diagram, line: str, group: str | None) -> None:
    """Nodes, and arrows between them: `a & b -- "text" --> c --> d`."""
    before, place = _ends(found, line, 0, group)
    while place < len(line):
        arrow = _ARROW.match(line, place)
        if arrow is None:
            raise NoDiagram(f"can't read {line[place:]!r} of {line!r}")
        after, place = _ends(found, line, arrow.end(), group)
        label = arrow["solid"] or arrow["dotted"]
        words = tuple(_split(label)) if label else ()
        dotted = "-." in arrow[0]
        found.edges += [Edge(one, other, words, dotted, bool(arrow["back"])) for one in before for other in after]
        before = after


def _ends(found: Diagram, line: str, place: int, group: str | None) -> tuple[list[str], int]:
    """The nodes `a & b` from a place on, and the place behind them."""
    ends = []
    while True:
        node = _NODE.match(line, place)
        if node is None:
            raise NoDiagram(f"no node in {line[place:]!r} of {line!r}")
        ends.append(_note(found, node, group))
        place = node.end()
        if line[place : place + 3] != " & ":
            return ends, place
        place += 3


def _note(found: Diagram, node: re.Match[str], group: str | None) -> str:
    name = node["id"]
    if name in found.groups:
        return name
    known = found.nodes.setdefault(name, Node(name, [name], group=group))
    if node["open"]:
        known.lines, known.shape = _split(node["label"]), _SHAPES[node["open"]]
    return name


def _states(lines: list[str]) -> Diagram:
    found = Diagram()
    for line in lines:
        transition = _TRANSITION.match(line)
        if transition is None:
            raise NoDiagram(f"can't read {line!r}")
        ends = []
        for end, point in ((transition["source"], START), (transition["target"], END)):
            name, shape = (point, "point") if end == "[*]" else (end, "round")
            found.nodes.setdefault(name, Node(name, [] if shape == "point" else [name.replace("_", " ")], shape))
            ends.append(name)
        label = tuple(_split(transition["label"])) if transition["label"] else ()
        found.edges.append(Edge(ends[0], ends[1], label))
    return found


def _split(label: str) -> list[str]:
    return [part.strip() for part in _BREAK.split(label.strip().strip('"'))]
