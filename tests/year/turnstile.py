"""Stands between the simulator and its reader, and lets days through one by one.

In a true year a look or a training takes minutes of a day. Here a day passes in seconds: without a turnstile the world
would run weeks ahead of whoever looks after the models.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import date

import httpx
import uvicorn
from fastapi import FastAPI, Request, Response
from fastapi.responses import StreamingResponse

from services.simulator.server import Server

EVENT_DAY = re.compile(rb'"_timestamp": ?"(\d{4}-\d\d-\d\d)')
REMINDER_S = 10.0
"""A blank line, which means nothing, so often while a day is held: a reader takes a silent source for broken."""


class Turnstile:
    """Forwards to `target` (an address). Of a stream, the first event of a day waits until `let_through` that day."""

    def __init__(self, target: str, open_until: date) -> None:
        self._target = target
        self._open_until = open_until
        self._moved = asyncio.Condition()

    async def let_through(self, day: date) -> None:
        """Every day up to this one. Days that were let through once stay so."""
        async with self._moved:
            self._open_until = max(self._open_until, day)
            self._moved.notify_all()

    @asynccontextmanager
    async def serving(self, port: int) -> AsyncIterator[None]:
        """On loopback, as long as the context lasts."""
        server = Server(uvicorn.Config(self._app(), port=port, log_config=None, access_log=False, lifespan="off"))
        running = asyncio.create_task(server.serve())
        try:
            yield
        finally:
            server.should_exit = server.force_exit = True
            await running

    def _app(self) -> FastAPI:
        app = FastAPI()

        @app.get("/{path:path}")
        async def page(path: str) -> Response:
            async with httpx.AsyncClient(base_url=self._target) as client:
                answer = await client.get(f"/{path}")
            return Response(answer.content, answer.status_code, media_type=answer.headers.get("content-type"))

        @app.post("/stream/{generator}")
        async def stream(generator: str, request: Request) -> StreamingResponse:
            body = await request.body()
            return StreamingResponse(self._held(generator, body), media_type="text/plain; charset=utf-8")

        return app

    async def _held(self, generator: str, body: bytes) -> AsyncIterator[bytes]:
        headers = {"content-type": "application/json"}
        async with (
            httpx.AsyncClient(base_url=self._target, timeout=None) as client,
            client.stream("POST", f"/stream/{generator}", content=body, headers=headers) as answer,
        ):
            answer.raise_for_status()
            rest = b""
            async for chunk in answer.aiter_raw():
                # Whole lines only: a day is told by its events.
                whole, end, rest = (rest + chunk).rpartition(b"\n")
                for line in (whole + end).splitlines(keepends=True):
                    if found := EVENT_DAY.search(line):
                        async for reminder in self._until_open(date.fromisoformat(found[1].decode())):
                            yield reminder
                    yield line
            yield rest

    async def _until_open(self, day: date) -> AsyncIterator[bytes]:
        while day > self._open_until:
            async with self._moved:
                try:
                    async with asyncio.timeout(REMINDER_S):
                        await self._moved.wait_for(lambda: day <= self._open_until)
                except TimeoutError:
                    yield b"\n"
