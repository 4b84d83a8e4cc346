"""The site, built as `make docs` builds it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from deploy.documentation.repository import ROOT

pytestmark = pytest.mark.slow

FOREIGN = re.compile(r"<(?:script|link|img|iframe|source)\b[^>]*?\b(?:src|href)=\"?(?:https?:)?//[^\s\">]+")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    (command,) = re.findall(r"-m (mkdocs build .*)", (ROOT / "Makefile").read_text())
    done = subprocess.run(
        [sys.executable, "-m", *command.split(), "--site-dir", folder],
        cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT), "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr.strip()) == (0, "")
    return folder


def test_a_browser_loads_nothing_from_elsewhere(site: Path) -> None:
    for page in site.rglob("*.html"):
        text = page.read_text()
        assert FOREIGN.findall(text) == [], page
        assert 'class="mermaid"' not in text, "the theme would fetch what draws it"
    for style in site.rglob("*.css"):
        assert "//fonts." not in style.read_text(), style


def test_pages_have_what_is_included_and_made_and_drawn(site: Path) -> None:
    assert "aiokafka" in (site / "how-to/publish.html").read_text()
    assert "SCORER__HTTP_PORT" in (site / "reference/settings.html").read_text()
    assert "<svg" in (site / "explanation/architecture.html").read_text()
    assert "<!-- include" not in "".join(page.read_text() for page in site.rglob("*.html"))


def test_a_page_for_each_kind_of_user_is_one_click_away(site: Path) -> None:
    home = (site / "index.html").read_text()
    for kind in ("producer", "consumer", "checkout", "operator", "analyst", "data-scientist"):
        assert re.search(rf'href="?for/{kind}\.html', home), kind
