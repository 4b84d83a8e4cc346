"""The raw ceiling of the REST door: wrk asks as fast as it is answered. No objective, for at its limit none is kept."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import subprocess
import tempfile
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console

from deploy.local.result import Result
from shared.contracts.identity import canonical_time
from tests.factories import transaction
from tests.load.running import LoadedSystem

SCRIPT = Path(__file__).with_name("ceiling.lua")
THREADS, CONNECTIONS = 2, 16
"""As many connections as `make bench` has."""
IN_FLIGHT = CONNECTIONS + 1
"""Calls that may be without an answer in the end; and wrk makes one up to see what its script asks."""
MINUTES = 1.0
AWAY = """wrk is not installed. On Debian: apt-get install wrk; on macOS: brew install wrk.
The other shapes (steady, peak, burst) need no more than `make setup` brings."""
EXIT_AWAY = 2


def ceiling(url: str | None, minutes: float | None, out: Path) -> int:
    """Exit status: 0 where every request was answered 200, and the ledger balanced afterwards."""
    console = Console()
    wrk = shutil.which("wrk")
    if wrk is None:
        console.print(AWAY)
        return EXIT_AWAY
    seconds = max(1, round((minutes or MINUTES) * 60))
    balanced: bool | None = None
    with ExitStack() as running:
        folder = Path(running.enter_context(tempfile.TemporaryDirectory(prefix="load-")))
        if url is None:
            with console.status("training a model, starting the system, warming it"):
                loaded = running.enter_context(LoadedSystem(folder))
            with console.status(f"wrk, {seconds} s"):
                found = ask(wrk, loaded.url, loaded.key, seconds, folder)
            balanced = bool(loaded.ledger()["balanced"])
        else:
            with console.status(f"wrk, {seconds} s"):
                found = ask(wrk, url, os.environ.get("LOAD_KEY", ""), seconds, folder)
    lost = found["lost"] + max(0, found["unanswered"] - IN_FLIGHT)
    passed = bool(found["requests"]) and not found["not_200"] and not lost and balanced is not False
    made = {**found, "connections": CONNECTIONS, "ledger_balanced": balanced, "passed": passed}
    Result(out / "ceiling.json").leave(made)
    console.print(
        f"load ceiling: {'passed' if passed else 'FAILED'}, {found['requests'] / found['seconds']:,.0f} calls/s over "
        f"{CONNECTIONS} connections, p50 {found['p50_ms']:.0f} ms, p99 {found['p99_ms']:.0f} ms, "
        f"{found['not_200']:,} not decided, {lost:,} lost; {out / 'ceiling.json'}",
        markup=False,
        soft_wrap=True,
    )
    return 0 if passed else 1


def ask(wrk: str, url: str, key: str, seconds: int, folder: Path) -> dict[str, Any]:
    """What wrk found. Raises RuntimeError where it could not ask at all."""
    occurred = canonical_time(datetime.now(UTC))
    body = transaction(0, event_id="@ID@", transaction_id="@ID@", customer_id="@CUSTOMER@", occurred_at=occurred)
    (folder / "body").write_text(json.dumps(body))
    environment = {
        **os.environ, "LOAD_BODY": str(folder / "body"), "LOAD_KEY": key, "LOAD_RUN": secrets.token_hex(4),
    }  # fmt: skip
    command = [wrk, f"-t{THREADS}", f"-c{CONNECTIONS}", f"-d{seconds}s", "--timeout", "30s", "-s", str(SCRIPT), url]
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=seconds + 60)
    for line in ended.stdout.splitlines():
        if line.startswith("found "):
            found: dict[str, Any] = json.loads(line.removeprefix("found "))
            return found
    raise RuntimeError(f"wrk ended with {ended.returncode}: {ended.stdout[-500:]}{ended.stderr[-500:]}")
