"""A YAML document with the place of each value, so that an error can name line and column."""

from __future__ import annotations

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

    def place(self, path: tuple[str | int, ...]) -> Place:
        """Of the value, or of the innermost part around it that there is."""
        while path and path not in self._places:
            path = path[:-1]
        return self._places.get(path, (1, 1))

    def inside(self, path: tuple[str | int, ...], column: int) -> Place:
        """Of the character at `column` (from 0) of a text."""
        line, start = self.place(path)
        return line, start + column + (path in self._quoted)


def read_document(path: Path) -> Document:
    """Raises DocumentError, which names the file."""
    try:
        text = path.read_text(encoding="utf-8")
        root = yaml.compose(text, yaml.SafeLoader)
    except (OSError, UnicodeDecodeError) as error:
        raise DocumentError(f"{path}: {error}") from None
    except yaml.YAMLError as error:
        raise DocumentError(f"{path}: not YAML: {' '.join(str(error).split())}") from None
    if not isinstance(root, yaml.MappingNode):
        raise DocumentError(f"{path}: a mapping at the top level is expected")
    places: dict[tuple[str | int, ...], Place] = {}
    quoted: set[tuple[str | int, ...]] = set()
    try:
        _walk(root, (), places, quoted)
        values = yaml.load(text, yaml.SafeLoader)
    except yaml.YAMLError as error:
        raise DocumentError(f"{path}: not YAML: {' '.join(str(error).split())}") from None
    return Document(values, places, frozenset(quoted))


def _walk(
    node: yaml.Node,
    path: tuple[str | int, ...],
    places: dict[tuple[str | int, ...], Place],
    quoted: set[tuple[str | int, ...]],
) -> None:
    places[path] = (node.start_mark.line + 1, node.start_mark.column + 1)
    if isinstance(node, yaml.ScalarNode) and node.style in ("'", '"'):
        quoted.add(path)
    elif isinstance(node, yaml.SequenceNode):
        for number, item in enumerate(node.value):
            _walk(item, (*path, number), places, quoted)
    elif isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key, value in node.value:
            name = str(key.value)
            if name in seen:  # YAML itself keeps the last one, without a word
                raise yaml.constructor.ConstructorError(None, None, f"{name} stands twice", key.start_mark)
            seen.add(name)
            _walk(value, (*path, name), places, quoted)
