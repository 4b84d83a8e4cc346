"""Two FastAPI servers to measure against, served as our scorer is (uvicorn, uvloop, httptools, one process).

`python -m tests.bench.peers.routes PORT` has `/empty`, a route that does nothing. With a model's file as second
argument it has `/score` too: decode, ONNX, encode, without features, idempotency, keys or Kafka.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import numpy as np
import uvicorn
from fastapi import Body, FastAPI

from tests.bench.onnx_session import session_of


def app(model: Path | None) -> FastAPI:
    made = FastAPI()

    @made.post("/empty")
    async def empty() -> dict[str, bool]:
        return {"ok": True}

    if model is not None:
        session = session_of(model.read_bytes())

        @made.post("/score")
        async def score(features: Annotated[list[float], Body(embed=True)]) -> dict[str, float]:
            matrix = np.array([features], dtype=np.float32)
            return {"probability_of_default": float(session.run(["probabilities"], {"features": matrix})[0][0, 1])}

    return made


def main() -> None:
    port, *model = sys.argv[1:]
    uvicorn.run(
        app(Path(model[0]) if model else None),
        host="127.0.0.1",
        port=int(port),
        loop="uvloop",
        http="httptools",
        access_log=False,
        log_level="warning",
    )


if __name__ == "__main__":
    main()
