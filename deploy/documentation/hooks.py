"""What MkDocs calls while it builds the site (`hooks` of mkdocs.yml)."""

from __future__ import annotations

import re
from fnmatch import fnmatch
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

from deploy.documentation import diagrams, reference, repository
from deploy.documentation.repository import DeadLink

_DIAGRAM = re.compile(r"^```mermaid\n(.*?)^```$", re.M | re.S)


def on_files(files: Files, *, config: MkDocsConfig) -> Files:
    """Add the pages that are made: references, and the files outside `docs/` that a page links to."""
    for uri, make in {**reference.PAGES, **reference.FILES}.items():
        files.append(File.generated(config, uri, content=make()))
    waiting = [file.src_uri for file in files if file.is_documentation_page()]
    waiting += [repository.in_site(path) for path in repository.ALWAYS]
    while waiting:
        uri = waiting.pop()
        path = repository.origin_of(uri)
        known = files.get_file_from_path(uri)
        if known is None:
            made = File.generated(config, uri, content=repository.text_of(repository.shown_by(uri)))
            files.append(made)
            text = made.content_string
        else:
            text = known.content_string
        waiting += [each for each in _led_to(text, path) if files.get_file_from_path(each) is None]
    if config.nav is not None:
        named = set(_named(config.nav))
        config.nav = [_expanded(entry, files, named) for entry in config.nav]
    return files


def _led_to(text: str, path: str) -> list[str]:
    """Pages outside `docs/` that a page needs. A dead link is none: MkDocs tells of it when it comes to the page."""
    found = []
    for target in repository.links(repository.included(text)):
        if not repository.is_external(target):
            leads_to, _ = repository.resolved(target, path)
            uri = repository.in_site(leads_to)
            if uri.startswith(repository.OUTSIDE) and (repository.ROOT / leads_to).exists():
                found.append(uri)
    return found


def _named(entry: Any) -> list[str]:
    """Every page that the navigation names by itself."""
    if isinstance(entry, str):
        return [] if "*" in entry else [entry]
    return [name for each in (entry.values() if isinstance(entry, dict) else entry) for name in _named(each)]


def _expanded(entry: Any, files: Files, named: set[str]) -> Any:
    """The navigation with each pattern (`adr/0*.md`) replaced by the pages that fit it and aren't named elsewhere."""
    if not isinstance(entry, dict):
        return entry
    ((title, below),) = entry.items()
    if not isinstance(below, list):
        return entry
    expanded: list[Any] = []
    for each in below:
        if isinstance(each, str) and "*" in each:
            pages = sorted(file.src_uri for file in files.documentation_pages() if fnmatch(file.src_uri, each))
            expanded += [page for page in pages if page not in named]
        else:
            expanded.append(_expanded(each, files, named))
    return {title: expanded}


def on_page_markdown(markdown: str, *, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Put in what is included, write links as the site has them, and draw the diagrams. A dead link ends the build."""
    try:
        text = repository.rewritten(repository.included(markdown), page.file.src_uri)
        return _DIAGRAM.sub(lambda found: diagrams.figure(found[1]), text)
    except (DeadLink, diagrams.NoDiagram) as error:
        raise PluginError(f"{page.file.src_uri}: {error}") from None
