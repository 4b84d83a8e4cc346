"""simtom's HTTP: `GET /`, `GET /generators`, `POST /stream/{generator}`."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import numpy as np
import structlog
from fastapi import FastAPI, HTTPException
from fastapi.responses import StreamingResponse

from services.simulator import metrics, wire
from services.simulator.bnpl import Bnpl
from services.simulator.hidden import HiddenFile
from services.simulator.request import StreamRequest
from services.simulator.settings import SimulatorSection
from services.simulator.stream import Clock, Stream
from services.simulator.worlds import GENERATORS, Worlds

log = structlog.get_logger()


def server_clock() -> datetime:
    return datetime.now(UTC).replace(tzinfo=None)


def create_app(settings: SimulatorSection, clock: Clock = server_clock) -> FastAPI:
    """The application. `clock`: the server's wall clock, which live times, tenures and drift are taken from."""
    app = FastAPI(title="Flit Risk simulator", version="1")
    worlds = Worlds(settings.continuity)
    hidden = HiddenFile(settings.hidden_file) if settings.hidden_file else None

    @app.get("/")
    async def health() -> dict[str, Any]:
        return {"status": "healthy", "service": "simulator", "generators": list(GENERATORS)}

    @app.get("/generators")
    async def generators() -> dict[str, list[str]]:
        return {"generators": list(GENERATORS)}

    @app.post("/stream/{generator}", response_class=StreamingResponse)
    async def stream(generator: str, request: StreamRequest) -> StreamingResponse:
        kind = GENERATORS.get(generator)
        if kind is None:
            raise HTTPException(404, f"no generator {generator!r}; there are: {', '.join(GENERATORS)}")
        if not request.regime:
            request = request.model_copy(update={"regime": settings.regime})
        seeds = np.random.SeedSequence(_entropy(request.effective_seed)).spawn(4)
        drawn = worlds.generator(kind, request, seeds[:2])
        pause = request.history_day_pause_seconds
        source = Stream(
            request,
            drawn,
            seeds[2:],
            clock=clock,
            day_pause_s=settings.history_day_pause_seconds if pause is None else pause,
            hidden=hidden,
        )
        return StreamingResponse(_body(source, request, drawn, worlds), media_type=wire.MEDIA_TYPE)

    return app


def _entropy(seed: int | None) -> int | None:
    """numpy takes no negative seeds; these are none of the others'."""
    return None if seed is None else 2 * abs(seed) + (seed < 0)


async def _body(source: Stream, request: StreamRequest, generator: Bnpl, worlds: Worlds) -> AsyncIterator[bytes]:
    """The chunks, with the stream's beginning and end on record."""
    days = request.days
    mode = "history" if days else "live"
    labels = (generator.name, mode)
    ended = "client_left"
    log.info("stream_opened", generator=generator.name, mode=mode, seed=request.effective_seed)
    metrics.OPEN_STREAMS.labels(*labels).inc()
    try:
        async for chunk in source.history(*days) if days else source.live():
            yield chunk
        ended = "complete"
        if days:
            worlds.leave(generator)
    except Exception:
        ended = "failed"
        raise
    finally:
        metrics.OPEN_STREAMS.labels(*labels).dec()
        metrics.STREAMS.labels(*labels, ended).inc()
        log.info("stream_ended", generator=generator.name, mode=mode, ended=ended)
