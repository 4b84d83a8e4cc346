"""A YAML document with the place of each value, so that an error can name line and column."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

Place = tuple[int, int]
"""Line and column, from 1."""


class DocumentError(ValueError):
    """Not a YAML mapping, or one that says something twice."""


@dataclass(frozen=True)
class Document:
    values: dict[str, Any]
    _places: dict[tuple[str | int, ...], Place]
    _quoted: frozenset[tuple[str | int, ...]]
    _folded: dict[tuple[str | int, ...], list[tuple[Place, int]]]
    """Of texts of several lines (`>`, `|`): where each line begins, and its length."""

    def place(self, path: tuple[str | int, ...]) -> Place:
        """Of the value, or of the innermost part around it that there is."""
        while path and path not in self._places:
            path = path[:-1]
        return self._places.get(path, (1, 1))

    def inside(self, path: tuple[str | int, ...], column: int) -> Place:
        """Of the character at `column` (from 0) of a text."""
        line, start = self.place(path)
        for (line, start), length in self._folded.get(path, ()):
            if column <= length:
                return line, start + column
            column -= length + 1  # its end became a space
        return line, start + column + (path in self._quoted)


def read_document(path: Path) -> Document:
    """Raises DocumentError, which names the file."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DocumentError(f"{path}: {error}") from None
    places: dict[tuple[str | int, ...], Place] = {}
    quoted: set[tuple[str | int, ...]] = set()
    try:
        root = yaml.compose(text, yaml.SafeLoader)
        if not isinstance(root, yaml.MappingNode):
            raise DocumentError(f"{path}: a mapping at the top level is expected")
        folded: dict[tuple[str | int, ...], list[tuple[Place, int]]] = {}
        _walk(root, (), places, quoted, folded, text.splitlines())
        values = yaml.load(text, yaml.SafeLoader)
    except DocumentError:
        raise
    # A day that isn't, a number without digits, a list within itself: YAML's own errors are not all that it raises.
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise DocumentError(f"{path}: not YAML: {' '.join(str(error).split())}") from None
    return Document(values, places, frozenset(quoted), folded)


def _walk(
    node: yaml.Node,
    path: tuple[str | int, ...],
    places: dict[tuple[str | int, ...], Place],
    quoted: set[tuple[str | int, ...]],
    folded: dict[tuple[str | int, ...], list[tuple[Place, int]]],
    lines: Sequence[str],
) -> None:
    places[path] = (node.start_mark.line + 1, node.start_mark.column + 1)
    if isinstance(node, yaml.ScalarNode):
        if node.style in ("'", '"'):
            quoted.add(path)
        elif node.style in (">", "|"):
            folded[path] = _lines_of(node, lines)
    elif isinstance(node, yaml.SequenceNode):
        for number, item in enumerate(node.value):
            _walk(item, (*path, number), places, quoted, folded, lines)
    elif isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key, value in node.value:
            name = str(key.value)
            if name in seen:  # YAML itself keeps the last one, without a word
                raise yaml.constructor.ConstructorError(None, None, f"{name} stands twice", key.start_mark)
            seen.add(name)
            _walk(value, (*path, name), places, quoted, folded, lines)


def _lines_of(node: yaml.ScalarNode, lines: Sequence[str]) -> list[tuple[Place, int]]:
    """From the line after its sign on; those that are indented alike, as nearly all are."""
    begin = node.start_mark.line + 1
    return [
        ((number + 1, len(line) - len(line.lstrip()) + 1), len(line.strip()))
        for number, line in enumerate(lines[begin : max(begin, node.end_mark.line)], begin)
        if line.strip()
    ]
