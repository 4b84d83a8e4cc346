"""Whether the process runs and should be asked, and the description of the calls."""

from __future__ import annotations

from collections.abc import Callable

from fastapi import FastAPI
from starlette.responses import Response

from services.scorer import openapi
from services.scorer.docs_page import docs_page


def add(app: FastAPI, ready: Callable[[], str | None]) -> None:
    @app.get("/live", **openapi.LIVE)
    async def live() -> Response:
        return Response("alive\n", media_type="text/plain")

    @app.get("/ready", **openapi.READY)
    async def is_ready() -> Response:
        reason = ready()
        if reason is None:
            return Response("ready\n", media_type="text/plain")
        return Response(f"{reason}\n", status_code=503, media_type="text/plain")

    @app.get("/docs", include_in_schema=False)
    async def docs() -> Response:
        return docs_page(app.openapi())
