"""Spans of requests to an ASGI application, by OpenTelemetry's semantic conventions for HTTP.

But for what a caller writes into an address, which may be a customer's id: of a request neither path nor query, only
the route that it found.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from opentelemetry.trace import Span, SpanKind, StatusCode

from shared.contracts.headers import TRACEPARENT, TRACEPARENT_HEADER
from shared.telemetry.trace_context import traceparent_naming

_KNOWN_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"})
_NOT_TRACED = frozenset({"/live", "/ready", "/openapi.json", "/docs"})
_HEADER = TRACEPARENT_HEADER.encode()


class TracedApp:
    """Around the application: continues the trace that a request brings along, or begins one.

    The application finds its own span in the request's `traceparent`, and hands that on.
    """

    def __init__(self, app: Any, begin: Callable[..., Span]) -> None:
        """`begin`: shared.telemetry.spans.SpanTracing.begin."""
        self._app = app
        self._begin = begin

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http" or scope["path"] in _NOT_TRACED:
            await self._app(scope, receive, send)
            return
        method = scope["method"] if scope["method"] in _KNOWN_METHODS else "_OTHER"
        given = [value.decode("latin-1") for name, value in scope["headers"] if name == _HEADER]
        parent = given[0] if len(given) == 1 and TRACEPARENT.fullmatch(given[0]) else None
        attributes = {"http.request.method": method, "url.scheme": scope["scheme"]}
        span = self._begin(method, SpanKind.SERVER, parent, attributes)
        others = [pair for pair in scope["headers"] if pair[0] != _HEADER]
        scope = {**scope, "headers": [*others, (_HEADER, traceparent_naming(span).encode())]}
        status = 500  # of a request that ends without an answer

        async def noting(message: Any) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, noting)
        finally:
            route = getattr(scope.get("route"), "path_format", None)
            if route is not None:
                span.update_name(f"{method} {route}")
                span.set_attribute("http.route", route)
            span.set_attribute("http.response.status_code", status)
            if status >= 500:
                span.set_status(StatusCode.ERROR)
            span.end()
