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


Trail = tuple[str | int, ...]
"""Of a value: names and numbers, from the outermost part to it."""


@dataclass(frozen=True)
class Document:
    values: dict[str, Any]
    _found: _Places

    def place(self, path: Trail) -> Place:
        """Of the value, or of the innermost part around it that there is."""
        while path and path not in self._found.starts:
            path = path[:-1]
        return self._found.starts.get(path, (1, 1))

    def inside(self, path: Trail, column: int) -> Place:
        """Of the character at `column` (from 0) of a text."""
        line, start = self.place(path)
        for (line, start), length in self._found.folded.get(path, ()):
            if column <= length:
                return line, start + column
            column -= length + 1  # its end became a space
        return line, start + column + (path in self._found.quoted)


def read_document(path: Path) -> Document:
    """Raises DocumentError, which names the file."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DocumentError(f"{path}: {error}") from None
    found = _Places(text.splitlines())
    try:
        root = yaml.compose(text, yaml.SafeLoader)
        found.walk(root)
        values = yaml.load(text, yaml.SafeLoader)
    # A day that isn't, a number without digits, a list within itself: YAML's own errors are not all that it raises.
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise DocumentError(f"{path}: not YAML: {' '.join(str(error).split())}") from None
    if not isinstance(root, yaml.MappingNode):
        raise DocumentError(f"{path}: a mapping at the top level is expected")
    return Document(values, found)


class _Places:
    """Where the parts of a document stand in its lines."""

    def __init__(self, lines: Sequence[str]) -> None:
        self._lines = lines
        self.starts: dict[Trail, Place] = {}
        self.quoted: set[Trail] = set()
        self.folded: dict[Trail, list[tuple[Place, int]]] = {}
        """Of texts of several lines (`>`, `|`): where each line begins, and its length."""

    def walk(self, node: yaml.Node | None, path: Trail = ()) -> None:
        """Raises yaml.YAMLError for what stands twice, RecursionError for what holds itself."""
        if node is None:  # an empty document
            return
        self.starts[path] = (node.start_mark.line + 1, node.start_mark.column + 1)
        if isinstance(node, yaml.ScalarNode):
            if node.style in ("'", '"'):
                self.quoted.add(path)
            elif node.style in (">", "|"):
                self.folded[path] = self._lines_of(node)
        elif isinstance(node, yaml.SequenceNode):
            for number, item in enumerate(node.value):
                self.walk(item, (*path, number))
        elif isinstance(node, yaml.MappingNode):
            seen: set[str] = set()
            for key, value in node.value:
                name = str(key.value)
                if name in seen:  # YAML itself keeps the last one, without a word
                    raise yaml.constructor.ConstructorError(None, None, f"{name} stands twice", key.start_mark)
                seen.add(name)
                self.walk(value, (*path, name))

    def _lines_of(self, node: yaml.ScalarNode) -> list[tuple[Place, int]]:
        """From the line after its sign on; those that are indented alike, as nearly all are."""
        begin = node.start_mark.line + 1
        return [
            ((number + 1, len(line) - len(line.lstrip()) + 1), len(line.strip()))
            for number, line in enumerate(self._lines[begin : max(begin, node.end_mark.line)], begin)
            if line.strip()
        ]
