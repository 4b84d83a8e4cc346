"""A quarter at 1,000 purchases a day through the topics, its reader killed twice: the ledger balances."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from shared.contracts.topics import DECISIONS, TRANSACTIONS
from tests.e2e.system import Log, System, until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]

DAYS = ("--start", "2026-06-01", "--end", "2026-08-29", "--daily", "1000", "--seed", "7")
KILLED_AT = (15_000, 50_000)
PATIENCE_S = 1800.0


def begin(system: System) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "services.ingestor", "backfill", *DAYS]
    return subprocess.Popen(command, env=system.environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


async def test_a_quarter_resumed_twice(tmp_path: Path) -> None:
    with System(tmp_path, ("simulator", "features", "scorer", "sink")) as system:
        log = Log(system.stack.kafka.bootstrap_servers)
        for place in KILLED_AT:
            reader = begin(system)

            async def so_many(place: int = place) -> bool:
                return await log.count(TRANSACTIONS.name) >= place

            await until(so_many, f"{place} purchases", PATIENCE_S)
            reader.send_signal(signal.SIGKILL)
            reader.wait()
        assert await asyncio.to_thread(begin(system).wait, PATIENCE_S) == 0
        purchases = await log.count(TRANSACTIONS.name)

        async def decided() -> bool:
            return await log.count(DECISIONS.name) >= 0.98 * purchases  # of repeats there is one decision

        await until(decided, "decisions", PATIENCE_S)
        report = await asyncio.to_thread(system.ledger, patience=900.0)
    print(f"{purchases} records, {report['records']}")
    assert report["balanced"], report
