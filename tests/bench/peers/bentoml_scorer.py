"""A BentoML service that scores a given vector, without features, idempotency, keys or Kafka.

`bentoml serve tests.bench.peers.bentoml_scorer:Risk`, with the file of an ONNX model in BENCH_MODEL.
"""

from __future__ import annotations

import os
from pathlib import Path

import bentoml
import numpy as np

from tests.bench.onnx_session import session_of


@bentoml.service(workers=1, logging={"access": {"enabled": False}})
class Risk:
    """POST /score {"features": […]}."""

    def __init__(self) -> None:
        self._session = session_of(Path(os.environ["BENCH_MODEL"]).read_bytes())

    @bentoml.api
    async def score(self, features: list[float]) -> dict[str, float]:
        """On the event loop, where it is fastest: a function that isn't a coroutine is given to a thread."""
        matrix = np.array([features], dtype=np.float32)
        outputs = self._session.run(["probabilities"], {"features": matrix})
        return {"probability_of_default": float(outputs[0][0, 1])}
