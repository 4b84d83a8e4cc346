"""Uvicorn inside our own event loop, beside the stream."""

from __future__ import annotations

import asyncio
import contextlib
import resource
import socket
from collections.abc import Iterator

import uvicorn
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from services.scorer.connections import ConnectionLimits, within
from services.scorer.door import RETRY_AFTER_S
from services.scorer.problems import Problem, answer

GRACE_SECONDS = 10
"""For answers in flight when the process is told to stop."""
OTHER_FILES = 256
"""Beside REST's connections: those to Kafka and Redis, logs, the model."""


class _Server(uvicorn.Server):
    """Signals belong to the process, not to one of its two doors."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class Farewell:
    """Tells clients that keep their connections to look for another process, once this one is stopping; and whoever has
    no answer when it is ended before its time, to ask again."""

    def __init__(self, app: ASGIApp, stop: asyncio.Event) -> None:
        self._app = app
        self._stop = stop

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        begun = False

        async def send_with_farewell(message: Message) -> None:
            nonlocal begun
            if message["type"] == "http.response.start":
                begun = True
                if self._stop.is_set():
                    message = {**message, "headers": [*message["headers"], (b"connection", b"close")]}
            await send(message)

        try:
            await self._app(scope, receive, send_with_farewell)
        except asyncio.CancelledError:
            if scope["type"] == "http" and not begun:
                again = Problem.later(503, "deadline", "this process is being ended", RETRY_AFTER_S)
                again.headers["Connection"] = "close"
                await answer(again)(scope, receive, send)
            raise


def listen(host: str, port: int) -> socket.socket:
    """A listening socket. Raises OSError: before anything else was started."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server((host, port), family=family, backlog=512)


def allow_files(count: int) -> None:
    """Raise the number of files this process may open, as far as the system lets it.

    Many systems give 1,024 unasked, and then a crowd at the door would leave none for Kafka and Redis.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = count if hard == resource.RLIM_INFINITY else min(count, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


async def serve(
    app: ASGIApp, listener: socket.socket, stop: asyncio.Event, limits: ConnectionLimits, drain_s: float = 0.0
) -> None:
    """Serve until `stop` is set and `drain_s` seconds more; then finish the answers in flight and return."""
    allow_files(limits.max_connections + OTHER_FILES)
    server = _Server(
        uvicorn.Config(
            Farewell(app, stop),
            http=within(limits),
            timeout_keep_alive=limits.keep_alive_seconds,  # type: ignore[arg-type]  # handed to call_later
            ws="none",
            lifespan="off",
            log_config=None,
            # Its warnings are of what strangers send: a line for each would be theirs to write. They are counted.
            log_level="error",
            access_log=False,
            server_header=False,
            # Whom a request comes from decides whether it is admitted: never taken from a header that it brings along.
            proxy_headers=False,
            timeout_graceful_shutdown=GRACE_SECONDS,
        )
    )
    serving = asyncio.ensure_future(server.serve(sockets=[listener]))
    stopping = asyncio.ensure_future(stop.wait())
    try:
        await asyncio.wait((serving, stopping), return_when=asyncio.FIRST_COMPLETED)
        await asyncio.wait((serving,), timeout=drain_s)
        server.should_exit = True
        await serving
    finally:
        stopping.cancel()
        serving.cancel()
        await asyncio.gather(stopping, serving, return_exceptions=True)
