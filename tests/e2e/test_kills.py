"""Every process is killed once while purchases stream through; afterwards nothing may be lost or doubled."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import pytest

from deploy.local.processes import ManagedProcess
from shared.contracts.topics import DECISIONS
from tests.e2e.system import Log, System, until

RATE = 80
PROGRESS = 150
"""Decisions that have to follow a kill before the next one: the system has recovered then."""


@pytest.mark.timeout(600)
async def test_the_ledger_balances_after_every_process_was_killed_once(tmp_path: Path) -> None:
    settings = {"INGESTOR__RATE": str(RATE)}
    with System(tmp_path, ("simulator", "features", "scorer", "sink", "ingestor"), settings) as system:
        log = Log(system.stack.kafka.bootstrap_servers)
        await log.grows(DECISIONS.name, PROGRESS)
        for name in ("ingestor", "features", "scorer", "sink"):
            process = system.supervisor.process(name)
            before = process.pid
            process.kill()
            await until(partial(_is_another, process, before), f"{name} to be started again")
            await log.grows(DECISIONS.name, PROGRESS)
        for part in (system.stack.valkey, system.stack.kafka, system.stack.bigquery):
            part.kill()
            part.start()
            await log.grows(DECISIONS.name, PROGRESS)
        system.supervisor.retire("ingestor")
        report = system.ledger()
    assert report["balanced"], json.dumps(report["invariants"], indent=1)
    assert report["lag"] == {}
    assert report["invariants"]["P2"]["checked"] >= 8 * PROGRESS


async def _is_another(process: ManagedProcess, pid: int) -> bool:
    return process.running and process.pid != pid
