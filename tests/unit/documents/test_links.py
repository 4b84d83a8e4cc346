"""Every link and every picture of the documents leads somewhere: to a file, and to a heading in it."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

import pytest

from deploy.documentation import reference, repository
from deploy.documentation.markdown import anchor, blank_code, headings, without_code
from deploy.documentation.repository import ROOT, DeadLink, included, is_external, links, resolved
from tests.documents.blocks import pages

TEMPLATES = "notebooks/reports/"
"""Of the research reports: their links are those of the folder that the reports are written into."""
PAGES = [page for page in pages() if not page.startswith(TEMPLATES)]


def anchors_of(path: str) -> set[str]:
    made = reference.PAGES.get(path.removeprefix("docs/"))
    text = included((ROOT / path).read_text()) if made is None else made()
    return {anchor(heading) for _, heading, _ in headings(text)}


def dead(page: str) -> list[str]:
    """The links of a page that lead nowhere within the repository, or on the site that is made of it."""
    found = []
    for target in links(included((ROOT / page).read_text())):
        if is_external(target):
            continue
        path, name = resolved(target, page)
        made = path.removeprefix("docs/") in {**reference.PAGES, **reference.FILES}
        exists = made or (ROOT / path).exists()
        if not exists or (name and (not path.endswith(".md") or name not in anchors_of(path))):
            found.append(target)
    return found


@pytest.mark.parametrize("page", PAGES)
def test_every_link_leads_somewhere(page: str) -> None:
    assert dead(page) == []


@pytest.mark.parametrize("page", PAGES)
def test_a_link_to_elsewhere_has_the_form_of_one(page: str) -> None:
    for target in links((ROOT / page).read_text()):
        if is_external(target):
            parts = urlsplit(target)
            assert parts.scheme == "https" and "." in (parts.hostname or ""), target


@pytest.mark.parametrize("page", PAGES)
def test_a_heading_has_a_name_of_its_own(page: str) -> None:
    names = [anchor(heading) for _, heading, _ in headings((ROOT / page).read_text())]
    assert len(names) == len(set(names)), "a link could mean either"


@pytest.mark.parametrize("page", [page for page in PAGES if not page.startswith("docs/")])
def test_what_is_read_outside_the_site_needs_no_page_that_the_site_makes(page: str) -> None:
    made = {f"docs/{uri}" for uri in {**reference.PAGES, **reference.FILES}}
    paths = {resolved(target, page)[0] for target in links((ROOT / page).read_text()) if not is_external(target)}
    assert not paths & made


@pytest.mark.parametrize(("written", "named"), [
    ("What holds, and why", "what-holds-and-why"), ("`degraded`: why?", "degraded-why"),
    ("GET /v1/decisions/{event_id}", "get-v1decisionsevent_id"), ("[A link](x.md) in it", "a-link-in-it"),
])  # fmt: skip
def test_a_heading_is_called_as_git_hosts_call_it(written: str, named: str) -> None:
    assert anchor(written) == named


@pytest.mark.parametrize("page", PAGES)
def test_what_says_that_it_includes_something_does(page: str) -> None:
    assert "<!-- include" not in without_code(included((ROOT / page).read_text()))


def test_links_in_code_are_none() -> None:
    text = "`[a](b)` [c](d)\n\n```\n[e](f)\n```\n\n[`g`](h) ![i](j)\n<!-- [k](l) -->\n"
    assert links(text) == ["d", "h", "j"]


def test_a_dead_link_is_found() -> None:
    with pytest.raises(DeadLink):
        resolved("../../x.md", "docs/index.md")
    with pytest.raises(DeadLink):
        included("<!-- include README.md#no-such-heading -->")


@pytest.mark.parametrize(("target", "origin", "page", "expected"), [
    ("../adr/0003-state-in-redis.md", "docs/for/operator.md", "for/operator.md", "../adr/0003-state-in-redis.md"),
    ("../../services/scorer/README.md#rest", "docs/reference/rest.md", "reference/rest.md",
     "../repository/services/scorer/README.md#rest"),
    ("docs/adr/README.md", "README.md", "repository/README.md", "../adr/README.md"),
    ("../../shared/archive.py", "docs/how-to/backfill.md", "how-to/backfill.md", "../repository/shared/archive.py.md"),
    ("deploy/airflow", "README.md", "repository/README.md", "deploy/airflow/README.md"),
])  # fmt: skip
def test_a_link_of_the_repository_becomes_one_of_the_site(target: str, origin: str, page: str, expected: str) -> None:
    assert repository.origin_of(page) == origin
    assert repository.rewritten(f"[x]({target})", page) == f"[x]({expected})"


def test_a_list_begins_after_an_empty_line_as_the_site_s_markdown_wants_it() -> None:
    for page in PAGES:
        text = blank_code((ROOT / page).read_text())
        joined = re.findall(r"^(?![-*|#>\s]|\d+\. )\S.*\n(?=[-*] \S|1\. \S)", text, re.M)
        assert joined == [], page
