"""MLServer with the booster, in an environment of its own (docs/adr/0024)."""

from __future__ import annotations

import json
import os
from pathlib import Path

from deploy.local.environments import environment_of
from deploy.local.ports import free_ports
from tests.bench.http_peer import HttpPeer

NAME, MODEL = "MLServer 1.7.1", "risk"
LOCK = Path(__file__).parent / "peers" / "mlserver.lock"


def mlserver(folder: Path, booster: bytes, *, kafka: dict[str, object] | None = None) -> HttpPeer:
    """`folder`: made for it. `kafka`: settings of its Kafka runtime; unset, it isn't there."""
    folder.mkdir()
    (folder / "model.json").write_bytes(booster)
    port, grpc, metrics = free_ports(3)
    settings = {
        "debug": False,
        # In its own process, where it is fastest: a worker beside it costs a way through a queue.
        "parallel_workers": 0,
        "host": "127.0.0.1",
        "http_port": port,
        "grpc_port": grpc,
        "metrics_port": metrics,
        **(kafka or {}),
    }
    model = {
        "name": MODEL,
        "implementation": "mlserver_xgboost.XGBoostModel",
        "parameters": {"uri": "./model.json"},
    }
    (folder / "settings.json").write_text(json.dumps(settings))
    (folder / "model-settings.json").write_text(json.dumps(model))
    command = [str(environment_of(LOCK) / "bin" / "mlserver"), "start", str(folder)]
    # One row at a time gains nothing by a second thread, which would wait for work by turning.
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return HttpPeer(command, port, f"/v2/models/{MODEL}/ready", environment)
