"""Quix Streams applications, in an environment of their own (docs/adr/0024): one that calls ONNX Runtime, and one that
makes features."""

from __future__ import annotations

from pathlib import Path

from deploy.local.environments import environment_of
from tests.bench.booster import Booster
from tests.bench.parts import Parts, Worker

NAME, FEATURES_NAME = "Quix Streams 3.28 + ONNX Runtime", "Quix Streams 3.28"
LOCK = Path(__file__).parent / "peers" / "quix.lock"


def scorer(parts: Parts, trained: Booster, source: str, target: str) -> Worker:
    """Answers each vector on `source` with a record on `target` (peers/quix_scorer.py)."""
    model, names = parts.folder / "model.onnx", ",".join(trained.files.manifest.feature_names)
    model.write_bytes(trained.files.onnx)
    return _application(parts, "quix_scorer", str(model), names, source, target)


def features(parts: Parts, source: str, target: str) -> Worker:
    """Makes a vector on `target` of each purchase on `source` (peers/quix_app.py)."""
    return _application(parts, "quix_app", str(parts.folder / "quix"), source, target)


def _application(parts: Parts, name: str, *arguments: str) -> Worker:
    python = str(environment_of(LOCK) / "bin" / "python")
    return parts.module(name, parts.kafka.bootstrap_servers, *arguments, python=python)
