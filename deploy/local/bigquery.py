"""The BigQuery emulator as a managed process."""

from __future__ import annotations

import os
import sys
import urllib.error
import urllib.request
from pathlib import Path

from deploy.local.processes import ManagedProcess, claim_port, listens

PROJECT = "flit-local"
START_TIMEOUT_SECONDS = 60
STOP_GRACE_SECONDS = 5
"""It takes 2 to 4 seconds, and may never end after a failed read. Its data is safe under SIGKILL."""

MAX_APPEND_BYTES = 134_217_728
"""Also bounds what one read of the emulator answers; large exports need it."""


class BigQuery:
    """bqemulator with its defects mended (`bigquery_emulator`), REST and Storage gRPC, persistent in `data_dir`."""

    def __init__(self, data_dir: Path, rest_port: int = 0, grpc_port: int = 0) -> None:
        self._dir = data_dir
        self.rest_port = claim_port(rest_port, "BigQuery's REST", "PORT_BIGQUERY_REST")
        self.grpc_port = claim_port(grpc_port, "BigQuery's gRPC", "PORT_BIGQUERY_GRPC")
        self.process = ManagedProcess(
            "bigquery",
            [
                *(sys.executable, "-m", "deploy.local.bigquery_emulator", str(data_dir / "data")),
                *(str(self.rest_port), str(self.grpc_port)),
            ],
            log=data_dir / "bigquery.log",
            environment={**os.environ, "BQEMU_WRITE_API_MAX_REQUEST_BYTES": str(MAX_APPEND_BYTES)},
            directory=Path(__file__).parents[2],
        )

    @property
    def rest_endpoint(self) -> str:
        return f"http://127.0.0.1:{self.rest_port}"

    @property
    def grpc_endpoint(self) -> str:
        return f"127.0.0.1:{self.grpc_port}"

    def start(self) -> None:
        """Start and wait until both doors answer. Raises StartFailed."""
        (self._dir / "data").mkdir(parents=True, exist_ok=True)
        self.process.start()
        self.process.wait_until(self._answers, START_TIMEOUT_SECONDS)

    def stop(self) -> None:
        self.process.stop(STOP_GRACE_SECONDS)

    def _answers(self) -> bool:
        url = f"{self.rest_endpoint}/bigquery/v2/projects/{PROJECT}/datasets"
        try:
            with urllib.request.urlopen(url, timeout=2) as answer:
                return answer.status == 200 and listens(self.grpc_port)
        except OSError:
            return False
