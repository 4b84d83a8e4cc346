"""Metrics of the trainer's own. It is a job, not a server: they are served on METRICS__PORT while a command runs."""

from __future__ import annotations

from prometheus_client import Counter, Gauge

TRAINING_SECONDS = Gauge("flit_training_seconds", "How long the last training took, by its step", ["step"])
TRAINING_EXAMPLES = Gauge("flit_training_examples", "Matured examples in the last training, by part", ["part"])
PROMOTIONS = Counter("flit_promotions_total", "Trained models, by whether they went into service", ["result"])
