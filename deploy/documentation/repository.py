"""Files of this repository as the site shows them: where each lies in it, and how links to it are written.

`docs/x.md` is `x.md` of the site. What lies outside and is linked to is `repository/<path>`: Markdown as it is, other
files as a page with their text, a folder as the list of what is in it.
"""

from __future__ import annotations

import os
import re
from pathlib import Path, PurePosixPath

from deploy.documentation import markdown

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
OUTSIDE = "repository/"
SERVICES = ("simulator", "ingestor", "features", "scorer", "sink", "trainer", "ledger", "console")
"""In the order in which an event meets them."""

ALWAYS = ("CONTRIBUTING.md", "CHANGELOG.md", *(f"services/{service}/README.md" for service in SERVICES))
"""Files outside `docs/` that the site has, linked to or not."""

LINK = re.compile(r"(?P<text>!?\[(?:[^\[\]]|\[[^\[\]]*\])*\])\((?P<target>[^)\s]+)(?P<title>\s+\"[^\"]*\")?\)")
INCLUDE = re.compile(r"^<!-- include (?P<path>[\w./-]+)#(?P<name>[\w-]+) -->$", re.M)
_EXTERNAL = re.compile(r"^(?:[a-z][a-z0-9+.-]*:|//)", re.I)
_NOT_SEARCHED = "---\nsearch:\n  exclude: true\n---\n\n"
_LANGUAGES = {".py": "python", ".yaml": "yaml", ".yml": "yaml", ".json": "json", ".toml": "toml", "": "text"}


class DeadLink(Exception):
    """A link, or an include, that leads to nothing in this repository."""


def is_external(target: str) -> bool:
    return _EXTERNAL.match(target) is not None


def included(text: str) -> str:
    """The text with each `<!-- include path#heading -->` followed by what stands under that heading of that file (its
    path from the root), links adjusted to the repository's root by an absolute path. Raises DeadLink."""

    def content(found: re.Match[str]) -> str:
        path = ROOT / found["path"]
        try:
            part = markdown.section(path.read_text(), found["name"])
        except (OSError, KeyError):
            raise DeadLink(f"nothing to include: {found[0]}") from None
        folder = PurePosixPath(found["path"]).parent
        return markdown.outside_code(part, LINK, lambda link: _from_root(link, folder))

    return INCLUDE.sub(content, text)


def _from_root(link: re.Match[str], folder: PurePosixPath) -> str:
    target = link["target"]
    if not is_external(target) and not target.startswith(("#", "/")):
        target = "/" + os.path.normpath(folder / target)
    return f"{link['text']}({target}{link['title'] or ''})"


def resolved(target: str, origin: str) -> tuple[str, str]:
    """Path from the root and anchor of a link that stands in the file `origin`. Raises DeadLink where it leads out."""
    path, _, name = target.partition("#")
    if not path:
        return origin, name
    inside = path.lstrip("/") if path.startswith("/") else os.path.normpath(PurePosixPath(origin).parent / path)
    if inside.startswith(".."):
        raise DeadLink(f"{origin}: {target} leads out of the repository")
    return inside.rstrip("/") or ".", name


def in_site(path: str) -> str:
    """Where a file or folder of the repository lies in the site, from the site's sources' root."""
    if (ROOT / path).is_dir():
        readme = f"{path}/README.md"
        return in_site(readme) if (ROOT / readme).is_file() else f"{OUTSIDE}{path}/index.md"
    if path.startswith("docs/"):
        return path.removeprefix("docs/")
    return f"{OUTSIDE}{path}" if path.endswith(".md") else f"{OUTSIDE}{path}.md"


def origin_of(uri: str) -> str:
    """The file of the repository that a page of the site shows; the inverse of `in_site` for Markdown files."""
    return uri.removeprefix(OUTSIDE) if uri.startswith(OUTSIDE) else f"docs/{uri}"


def text_of(path: str) -> str:
    """The page that shows a file or folder outside `docs/`."""
    place = ROOT / path
    if place.is_dir():
        inside = sorted(
            each.name + "/" * each.is_dir() for each in place.iterdir() if not each.name.startswith(("_", "."))
        )
        lines = [f"- [{name}](/{path}/{name.rstrip('/')})" for name in inside]
        return f"# {path}\n\n" + "\n".join(lines) + "\n"
    text = place.read_text()
    if path.endswith(".md"):
        return text
    fence = "`" * (max((len(run) for run in re.findall(r"`{3,}", text)), default=2) + 1)
    return f"{_NOT_SEARCHED}# {path}\n\n{fence}{_LANGUAGES.get(place.suffix, '')}\n{text}\n{fence}\n"


def rewritten(text: str, uri: str) -> str:
    """A page's text with every link as the site has it. `uri`: of the page, from the site's root."""
    origin, folder = origin_of(uri), PurePosixPath(uri).parent

    def link(found: re.Match[str]) -> str:
        if is_external(found["target"]) or found["target"].startswith("#"):
            return found[0]
        path, name = resolved(found["target"], origin)
        leads_to = os.path.relpath(in_site(path), folder) + (f"#{name}" if name else "")
        return f"{found['text']}({leads_to}{found['title'] or ''})"

    return markdown.outside_code(text, LINK, link)


def links(text: str) -> list[str]:
    """Targets of the links of a page, without those in its code."""
    found: list[str] = []
    markdown.outside_code(text, LINK, lambda link: found.append(link["target"]) or link[0])  # type: ignore[func-returns-value]
    return found


def shown_by(uri: str) -> str:
    """The file or folder that a page outside `docs/` shows; the inverse of `in_site`."""
    path = uri.removeprefix(OUTSIDE)
    for shown in (path, path.removesuffix("/index.md"), path.removesuffix(".md")):
        if (ROOT / shown).exists():
            return shown
    raise DeadLink(f"nothing is shown by {uri}")
