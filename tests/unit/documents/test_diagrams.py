"""Diagrams of the documents, drawn: all of them, with all that they name, and no two nodes in one place."""

from __future__ import annotations

from itertools import combinations
from xml.etree import ElementTree

import pytest

from deploy.documentation.diagrams import NoDiagram, figure
from deploy.documentation.diagrams.layout import Box, placed
from deploy.documentation.diagrams.reading import Edge, read
from tests.documents.blocks import Block, blocks_of, pages

DIAGRAMS = [block for page in pages() for block in blocks_of(page) if block.language == "mermaid"]


@pytest.mark.parametrize("block", DIAGRAMS, ids=str)
def test_a_diagram_has_every_word_of_its_text_and_no_two_nodes_touch(block: Block) -> None:
    drawn = ElementTree.fromstring(figure(block.text))
    words = {text.strip() for text in drawn.itertext()}
    diagram = read(block.text)
    for node in diagram.nodes.values():
        assert set(node.lines) <= words
    assert {line for edge in diagram.edges for line in edge.lines} <= words
    boxes = placed(diagram).boxes
    assert not [pair for pair in combinations(boxes, 2) if touch(boxes[pair[0]], boxes[pair[1]])]


def touch(one: Box, other: Box) -> bool:
    return (
        abs(one.x - other.x) < (one.width + other.width) / 2 and abs(one.y - other.y) < (one.height + other.height) / 2
    )


def test_arrows_shapes_labels_and_chains_are_read() -> None:
    found = read(
        'flowchart LR\n a["A<br/>b"] -- one --> b(["B"]) & c[("C")] <-- "t, w" --> d -.-> e\n a -. "x y" .-> e'
    )
    assert found.edges == [
        Edge("a", "b", ("one",)), Edge("a", "c", ("one",)),
        Edge("b", "d", ("t, w",), both_ways=True), Edge("c", "d", ("t, w",), both_ways=True),
        Edge("d", "e", dotted=True), Edge("a", "e", ("x y",), dotted=True),
    ]  # fmt: skip
    assert [(node.lines, node.shape) for node in found.nodes.values()] == [
        (["A", "b"], "box"), (["B"], "round"), (["C"], "store"), (["d"], "box"), (["e"], "box"),
    ]  # fmt: skip


def test_an_arrow_leads_to_the_right_and_one_that_closes_a_circle_back() -> None:
    boxes = placed(read("flowchart LR\n a --> b --> c\n c --> a")).boxes
    assert boxes["a"].x < boxes["b"].x < boxes["c"].x


@pytest.mark.parametrize("text", ["pie", "flowchart TB\n a --> b", "flowchart LR\n a ==> b", "flowchart LR\n --> b"])
def test_what_cannot_be_drawn_is_refused(text: str) -> None:
    with pytest.raises(NoDiagram):
        figure(text)
