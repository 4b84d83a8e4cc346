"""A Quix Streams application that calls ONNX Runtime, in an environment of its own (docs/adr/0024)."""

from __future__ import annotations

from pathlib import Path

from deploy.local.environments import environment_of
from tests.bench.booster import Booster
from tests.bench.parts import Parts, Worker

NAME = "Quix Streams 3.28 + ONNX Runtime"
LOCK = Path(__file__).parent / "peers" / "quix.lock"


def scorer(parts: Parts, trained: Booster, source: str, target: str) -> Worker:
    """Answers each vector on `source` with a record on `target` (peers/quix_scorer.py)."""
    model, names = parts.folder / "model.onnx", ",".join(trained.files.manifest.feature_names)
    model.write_bytes(trained.files.onnx)
    python = str(environment_of(LOCK) / "bin" / "python")
    brokers = parts.kafka.bootstrap_servers
    return parts.module("quix_scorer", brokers, str(model), names, source, target, python=python)
