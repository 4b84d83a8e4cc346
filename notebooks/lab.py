"""`make notebook`: JupyterLab on the warehouse that `make research` has made. On loopback only."""

from __future__ import annotations

import os
import subprocess
import sys

from rich.console import Console

from deploy.local.backfill import Backfill
from notebooks.run import DATA, SOURCES, settings_of, study_environment


def main() -> None:
    with Backfill(settings_of(SOURCES[0], DATA), Console()).opened() as studied:
        command = [sys.executable, "-m", "jupyterlab", "--ip", "127.0.0.1", "--notebook-dir", "notebooks"]
        subprocess.run(command, env={**os.environ, **study_environment(studied)}, check=False)


if __name__ == "__main__":
    main()
