"""The blocks of code in this repository's Markdown files, and what stands above them about being run.

A mark is a comment in the line above a block:

    <!-- not run: REASON -->                 nobody runs it; its commands are checked word for word all the same
    <!-- run by: `tests/….py` -->            another test takes it from the page
    <!-- only in the tutorial: REASON -->    the tutorial's test runs it
    <!-- smaller: OLD -> NEW; OLD -> NEW --> run with these words replaced, since as it stands it takes too long
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass

from deploy.documentation.repository import ROOT, included

NOT_RUN, RUN_BY, TUTORIAL, SMALLER = "not run", "run by", "only in the tutorial", "smaller"

_BLOCK = re.compile(
    r"(?:^ *<!-- (?P<mark>not run|run by|only in the tutorial|smaller): (?P<about>[^\n]+) -->\n)?"
    r"^(?P<indent> *)(?P<fence>`{3,})(?P<language>[\w-]*)(?: title=\"(?P<title>[^\"]+)\")?[ \t]*\n"
    r"(?P<text>.*?)^(?P=indent)(?P=fence)[ \t]*$",
    re.M | re.S,
)
_INDENTED = re.compile(r"(?<=\n\n)(?:    .*\n)+")
_IN_LIST = re.compile(r"^(?:[-*]|\d+\.) .*\n(?:(?: .*)?\n)*\Z", re.M)
"""Text whose last line at the margin begins a list: what is indented below it goes on with that."""


@dataclass(frozen=True)
class Block:
    """`page`: from the repository's root. `line`: of its fence. `mark`, `about`: none, or of the comment above it."""

    page: str
    line: int
    language: str
    text: str
    title: str | None = None
    mark: str | None = None
    about: str = ""

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"

    @property
    def to_run(self) -> str:
        """Its text, with what is to be smaller made so. Raises AssertionError where a word to replace isn't there."""
        text = self.text
        if self.mark == SMALLER:
            for change in self.about.split("; "):
                old, new = change.split(" -> ")
                assert old in text, f"{self}: no {old!r} to replace"
                text = text.replace(old, new)
        return text


def pages() -> list[str]:
    """Every Markdown file of the repository."""
    return tracked("*.md")


def tracked(*patterns: str) -> list[str]:
    """Every file that is under version control, or will be, from the root."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", *patterns],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return sorted(path for path in set(listed.stdout.splitlines()) if (ROOT / path).is_file())


def blocks_of(page: str, *, whole: bool = False) -> Iterator[Block]:
    """Fenced blocks in their order. `whole`: with those that the page includes from others."""
    text = (ROOT / page).read_text()
    for found in _BLOCK.finditer(included(text) if whole else text):
        indent = len(found["indent"])
        body = "".join(line[indent:] if line.strip() else "\n" for line in found["text"].splitlines(keepends=True))
        line = found.string.count("\n", 0, found.start("fence")) + 1
        yield Block(page, line, found["language"], body, found["title"], found["mark"], found["about"] or "")


def indented_of(page: str) -> Iterator[Block]:
    """Code that stands indented between paragraphs, as run-books have it."""
    text = (ROOT / page).read_text()
    bare = _BLOCK.sub(lambda found: "\n".join(f"{found['indent']}-" for _ in found[0].split("\n")), text)
    for found in _INDENTED.finditer(bare):
        if _IN_LIST.search(bare[: found.start()]):
            continue
        yield Block(page, bare.count("\n", 0, found.start()) + 1, "", re.sub(r"^    ", "", found[0], flags=re.M))


def shell_of(block: Block) -> str:
    """What is typed; of a console the lines behind its prompt."""
    if block.language != "console":
        return block.to_run
    return "".join(f"{line[2:]}\n" for line in block.to_run.splitlines() if line.startswith("$ "))
