"""Who alerts, and whether he can."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

from tests.deployment import REPOSITORY

RUNBOOK = re.compile(r"\"(docs/operations/[\w./-]+\.md)(?:#([\w-]+))?\"")


def _sources() -> list[Path]:
    return [path for name in ("services", "shared", "deploy") for path in (REPOSITORY / name).rglob("*.py")]


def test_each_service_that_alerts_has_the_library_in_its_image() -> None:
    extras = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    alerting = {
        path.relative_to(REPOSITORY / "services").parts[0]
        for path in (REPOSITORY / "services").rglob("*.py")
        if "shared.alerts" in path.read_text()
    }
    assert alerting
    assert {name for name in alerting if any(each.startswith("apprise") for each in extras[name])} == alerting


def test_each_run_book_is_a_page_with_that_heading() -> None:
    named = {found for path in _sources() for found in RUNBOOK.findall(path.read_text())}
    assert named
    for page, anchor in named:
        headings = re.findall(r"^#+ (.+)$", (REPOSITORY / page).read_text(), re.M)
        assert not anchor or anchor in {heading.lower().replace(" ", "-") for heading in headings}, f"{page}#{anchor}"
