"""The threat model: what it says is tested where, is there."""

from __future__ import annotations

import ast
import re

import pytest

from tests.deployment import REPOSITORY

PAGE = REPOSITORY / "docs/explanation/threat-model.md"
TEXT = PAGE.read_text()
LINKS = re.findall(r"\]\(([^)#]+)\)", TEXT)
THREATS = re.findall(r"^\| (\d+) \| ([STRIDE ]+) \| (.+) \| (.+) \| (.+) \|$", TEXT, re.M)


@pytest.mark.parametrize("link", sorted(set(LINKS)))
def test_every_link_leads_to_a_file_and_a_tests_to_tests(link: str) -> None:
    target = (PAGE.parent / link).resolve()
    assert target.is_file()
    if target.suffix == ".py":
        names = [node.name for node in ast.walk(ast.parse(target.read_text())) if hasattr(node, "name")]
        assert any(name.startswith("test_") for name in names), f"{link} tests nothing"


def test_every_threat_is_tested_or_among_what_is_not_defended() -> None:
    assert [int(number) for number, *_ in THREATS] == list(range(1, len(THREATS) + 1))
    for number, _, threat, held, tested in THREATS:
        assert held.strip(), number
        assert "](../../tests/" in tested or "not held off, see below" in tested, f"{number}: {threat}"


@pytest.mark.parametrize(
    "subject",
    [
        "an outside producer", "key leaks", "access to Redis", "poisoned model", "poisoned training data",
        "log injection", "personal data", "supply chain", "denial of service", "replay", "What is not defended",
    ],
)  # fmt: skip
def test_the_page_speaks_of(subject: str) -> None:
    assert subject in TEXT
