"""A killed owner leaves no worker behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

OWNER = """
import os, sys, time
from shared.pools import process_pool

def greet(name):
    print(name, flush=True)

if __name__ == "__main__":
    with process_pool(2, greet, ("opened",)) as pool:
        print(*{pool.submit(os.getpid).result() for _ in range(8)}, flush=True)
        pool.submit(time.sleep, 600)
        time.sleep(600)
"""


def alive(pid: int) -> bool:
    try:
        # Nobody waits for a process whose parent is gone, here: what has ended may stay as a zombie.
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_workers_end_when_their_owner_is_killed(tmp_path: Path) -> None:
    script = tmp_path / "owner.py"
    script.write_text(OWNER)
    owner = subprocess.Popen(
        [sys.executable, str(script)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path.cwd())},
    )
    assert owner.stdout is not None
    line = owner.stdout.readline().strip()
    while line == "opened":
        line = owner.stdout.readline().strip()
    workers = [int(pid) for pid in line.split()]
    assert workers and all(alive(pid) for pid in workers)
    owner.send_signal(signal.SIGKILL)
    owner.wait()
    deadline = time.monotonic() + 30
    while any(alive(pid) for pid in workers):
        assert time.monotonic() < deadline
        time.sleep(0.05)
