"""uvicorn on the address of the settings, until told to stop."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator

import uvicorn

from services.simulator.api import create_app
from services.simulator.settings import SimulatorSettings
from shared.telemetry.operations import OperationsServer

GRACE_S = 1
"""Open streams are cut after it. Their bodies end broken, as they should: a clean end would say that this was all."""


class Server(uvicorn.Server):
    """Leaves the signals to `shared.telemetry.process`."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


async def serve(settings: SimulatorSettings, stop: asyncio.Event) -> None:
    """Serve the application and the operators' port. Returns once `stop` is set and the connections are closed."""
    section = settings.simulator
    config = uvicorn.Config(
        create_app(section),
        host=section.host,
        port=section.port,
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=GRACE_S,
    )
    server = Server(config)

    def not_ready() -> str | None:
        return None if server.started else "starting"

    with OperationsServer(settings.metrics.port, not_ready, settings.metrics.host):
        serving = asyncio.create_task(server.serve())
        stopping = asyncio.create_task(stop.wait())
        try:
            await asyncio.wait({serving, stopping}, return_when=asyncio.FIRST_COMPLETED)
            server.should_exit = True
            await serving
        finally:
            stopping.cancel()
