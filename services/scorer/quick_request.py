"""A request whose headers are found by their names."""

from __future__ import annotations

from typing import Any

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.types import Receive, Scope, Send


class QuickHeaders(Headers):
    """The framework goes through all headers for each one that is asked for, and raises and catches an error for one
    that isn't there. A checkout asks for ten."""

    def __init__(self, raw: list[tuple[bytes, bytes]]) -> None:
        super().__init__(raw=raw)
        self._first = dict(reversed(raw))  # of two of a name the first counts, as in the framework

    def get(self, key: str, default: Any = None) -> Any:
        value = self._first.get(key.lower().encode("latin-1"))
        return default if value is None else value.decode("latin-1")

    def __contains__(self, key: object) -> bool:
        return isinstance(key, str) and key.lower().encode("latin-1") in self._first


class QuickRequest(Request):
    """Of a connection whose server gives the names of headers in lower case, as ASGI has it."""

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        super().__init__(scope, receive, send)
        self._quick = QuickHeaders(list(scope["headers"]))

    @property
    def headers(self) -> QuickHeaders:
        return self._quick
