"""BentoML with the booster as ONNX, in an environment of its own (docs/adr/0024)."""

from __future__ import annotations

import os
from pathlib import Path

from deploy.documentation.repository import ROOT
from deploy.local.environments import environment_of
from deploy.local.ports import free_ports
from tests.bench.http_peer import HttpPeer

NAME = "BentoML 1.4.40"
LOCK = Path(__file__).parent / "peers" / "bentoml.lock"


def bentoml(folder: Path, onnx: Path) -> HttpPeer:
    """`folder`: made for what it keeps."""
    (port,) = free_ports(1)
    program = str(environment_of(LOCK) / "bin" / "bentoml")
    service = "tests.bench.peers.bentoml_scorer:Risk"
    command = [program, "serve", "--do-not-track", "--quiet", service, "--host", "127.0.0.1", "--port", str(port)]
    environment = {
        **os.environ,
        "BENTOML_HOME": str(folder),
        "BENCH_MODEL": str(onnx),
        "PYTHONPATH": str(ROOT),
    }
    return HttpPeer([*command, "--working-dir", str(ROOT)], port, "/readyz", environment)
