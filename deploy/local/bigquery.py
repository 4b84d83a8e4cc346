"""The BigQuery emulator as an embedded part: REST, and Storage Read and Write over gRPC."""

from __future__ import annotations

import os
import sys
import urllib.request
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from deploy.local.ports import LOOPBACK, is_listening
from deploy.local.priority import yielding
from deploy.local.processes import ManagedProcess
from deploy.local.single import SingleProcess
from shared.settings import BigQuerySettings

PROJECT = "flit-local"
REPOSITORY = Path(__file__).parents[2]

START_TIMEOUT_SECONDS = 120
"""3 s on an idle machine, most of it imports."""
STOP_TIMEOUT_SECONDS = 5
"""A clean stop takes 2 to 4 s, and never ends after some failed reads. Its data is safe under SIGKILL."""
ANSWER_TIMEOUT_SECONDS = 2

EMULATOR = (sys.executable, "-m", "deploy.local.bigquery_emulator")


class BigQuery(SingleProcess):
    """`start()` returns once both doors are open. Data under `data_dir`; a restart keeps it, streams included."""

    def __init__(
        self,
        data_dir: Path,
        rest_port: int,
        grpc_port: int,
        *,
        without: Collection[str] = (),
        program: Sequence[str] = EMULATOR,
        environment: Mapping[str, str] = os.environ,
    ) -> None:
        """For tests: `without`, patches to leave out; `program`, another launcher with the same arguments."""
        self._data_dir = data_dir.resolve()
        self._rest_port = rest_port
        self._grpc_port = grpc_port
        self.process = ManagedProcess(
            "bigquery",
            [
                *yielding("bigquery"),
                *program,
                *(str(self._data_dir / "data"), str(rest_port), str(grpc_port)),
                *(part for name in without for part in ("--without", name)),
            ],
            log_file=self._data_dir / "bigquery.log",
            environment={**environment, "PYTHONPATH": str(REPOSITORY), "PYTHONUNBUFFERED": "1"},
            stop_timeout=STOP_TIMEOUT_SECONDS,
        )

    @property
    def rest_endpoint(self) -> str:
        return f"http://{LOOPBACK}:{self._rest_port}"

    @property
    def grpc_endpoint(self) -> str:
        return f"{LOOPBACK}:{self._grpc_port}"

    @property
    def settings(self) -> BigQuerySettings:
        """As a client of this process takes them."""
        return BigQuerySettings(project=PROJECT, rest_endpoint=self.rest_endpoint, grpc_endpoint=self.grpc_endpoint)

    def environment(self) -> dict[str, str]:
        """The same for a process."""
        return {f"BIGQUERY__{name.upper()}": value for name, value in self.settings.model_dump().items()}

    def start(self) -> None:
        """Raises StartFailed."""
        (self._data_dir / "data").mkdir(parents=True, exist_ok=True)
        self.process.start()
        self.process.wait_until(self._answers, START_TIMEOUT_SECONDS)

    def _answers(self) -> bool:
        url = f"{self.rest_endpoint}/bigquery/v2/projects/{PROJECT}/datasets"
        try:
            with urllib.request.urlopen(url, timeout=ANSWER_TIMEOUT_SECONDS) as answer:
                return answer.status == 200 and is_listening(self._grpc_port)
        except OSError:
            return False
