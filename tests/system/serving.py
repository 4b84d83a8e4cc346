"""The console as a process, for tests that look at it in a browser."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from deploy.local.ports import free_ports
from deploy.local.processes import ManagedProcess
from deploy.local.services import Service

START_SECONDS = 240
"""Two on an idle machine; a starved one takes long to import."""


@contextmanager
def console(environment: Mapping[str, str], folder: Path) -> Iterator[str]:
    """Its address, once the pages are served."""
    port, operations = free_ports(2)
    service = Service("console", operations, environment={"CONSOLE__PORT": str(port)})
    process = ManagedProcess(
        "console",
        [sys.executable, "-m", "services.console"],
        log_file=folder / "console.log",
        environment=service.full_environment(environment),
    )
    process.start()
    try:
        process.wait_until(service.ready, START_SECONDS)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.stop()
