"""BentoML with the booster as ONNX, in an environment of its own (docs/adr/0024)."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from deploy.local.environments import environment_of
from deploy.local.ports import free_ports
from deploy.local.services import status_of

NAME = "BentoML 1.4.40"
LOCK = Path(__file__).parent / "peers" / "bentoml.lock"
REPOSITORY = Path(__file__).parents[2]


@dataclass(frozen=True)
class BentoML:
    """How to start it, and where it is then."""

    command: list[str]
    environment: dict[str, str]
    port: int

    def ready(self) -> bool:
        return status_of(self.port, "/readyz") == 200


def bentoml(folder: Path, onnx: Path) -> BentoML:
    """`folder`: made for what it keeps."""
    (port,) = free_ports(1)
    program = str(environment_of(LOCK) / "bin" / "bentoml")
    service = "tests.bench.peers.bentoml_scorer:Risk"
    command = [program, "serve", "--do-not-track", "--quiet", service, "--host", "127.0.0.1", "--port", str(port)]
    environment = {
        **os.environ,
        "BENTOML_HOME": str(folder),
        "BENCH_MODEL": str(onnx),
        "PYTHONPATH": str(REPOSITORY),
    }
    return BentoML([*command, "--working-dir", str(REPOSITORY)], environment, port)
