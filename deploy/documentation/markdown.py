"""Markdown as the reference pages write it, and as links in it are read."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence

from pymdownx.slugs import slugify

_slug = slugify(case="lower")
_CODE = re.compile(
    r"^(?P<fence> *(`{3,}|~{3,})).*?^ *\2[`~]*[ \t]*$|(?P<ticks>`+)(?!`).*?(?<!`)(?P=ticks)(?!`)", re.M | re.S
)
_COMMENT = re.compile(r"<!--.*?-->", re.S)
_HEADING = re.compile(r"^(#{1,6}) +(.+?) *#*$", re.M)
_TEXT_OF_LINK = re.compile(r"!?\[([^\]]*)\]\([^)]*\)")


def anchor(heading: str) -> str:
    """What a heading is called in a link, as the site and the usual Git hosts make it."""
    bare = _TEXT_OF_LINK.sub(r"\1", heading).replace("`", "").replace("*", "")
    return str(_slug(bare, "-"))


def headings(markdown: str) -> list[tuple[int, str, int]]:
    """Level, text and place of each heading; what looks like one in code is none."""
    bare = blank_code(markdown, inline=False)
    return [(len(found[1]), found[2], found.start()) for found in _HEADING.finditer(bare)]


def blank_code(markdown: str, *, inline: bool = True) -> str:
    """The text with code and comments blanked out, every other character in its place. `inline`: that in a line too."""

    return _COMMENT.sub(_blank, without_code(markdown, inline=inline))


def without_code(markdown: str, *, inline: bool = True) -> str:
    """The same with its comments left where they are."""
    return _CODE.sub(lambda found: found[0] if found["ticks"] and not inline else _blank(found), markdown)


def _blank(found: re.Match[str]) -> str:
    return re.sub(r"[^\n]", " ", found[0])


def outside_code(markdown: str, pattern: re.Pattern[str], replaced: Callable[[re.Match[str]], str]) -> str:
    """`pattern` replaced wherever it isn't in code."""
    parts, last = [], 0
    for found in pattern.finditer(blank_code(markdown)):
        whole = pattern.match(markdown, found.start())
        if whole is None:  # its text holds code, which the blanked copy shortens to nothing that could match
            continue
        parts += [markdown[last : whole.start()], replaced(whole)]
        last = whole.end()
    return "".join([*parts, markdown[last:]])


def section(markdown: str, name: str) -> str:
    """What stands under the heading that a link calls `name`, without the heading. Raises KeyError."""
    found = headings(markdown)
    for i, (level, text, place) in enumerate(found):
        if anchor(text) == name:
            end = next((later for depth, _, later in found[i + 1 :] if depth <= level), len(markdown))
            return markdown[place:end].partition("\n")[2].strip()
    raise KeyError(name)


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(map(cell, line)) + " |" for line in lines)


def cell(text: str) -> str:
    """Text of one or several lines that stays within its cell."""
    return " ".join(text.split()).replace("|", "\\|")


def code(text: object) -> str:
    """In the type of code; nothing where there is nothing."""
    return f"`{text}`" if str(text) else ""


def safe(text: str) -> str:
    """Prose that may hold angle brackets, outside of its code."""
    return re.sub(r"(`[^`]*`)|<", lambda found: found[1] or "&lt;", text)


def page(title: str, about: str, *parts: str) -> str:
    return "\n\n".join([f"# {title}", about, *parts]) + "\n"
