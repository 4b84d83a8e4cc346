"""Ids in paths: any that a purchase may have, with a slash (sent as %2F) in it or not.

A server takes paths apart only after it has undone what a caller escaped, so that an id's own slash would begin another
part of the path. Here it is kept apart from the path's own.
"""

from __future__ import annotations

import re
from urllib.parse import unquote

from starlette.convertors import Convertor, register_url_convertor
from starlette.types import Scope

_SLASH = re.compile(rb"%2f", re.IGNORECASE)
_KEPT = "\x1e"
"""In the place of an id's slash: no id may hold it."""


class IdConvertor(Convertor[str]):
    """`{event_id:id}` in a route."""

    regex = "[^/]+"

    def convert(self, value: str) -> str:
        return value.replace(_KEPT, "/")

    def to_string(self, value: str) -> str:
        return value.replace("/", _KEPT)


register_url_convertor("id", IdConvertor())


def keep_slashes(scope: Scope) -> None:
    """Of a request's ids, apart from those of its path."""
    raw: bytes = scope.get("raw_path") or b""
    if _SLASH.search(raw):
        scope["path"] = unquote(_SLASH.sub(_KEPT.encode(), raw).decode("ascii", "replace"))
