"""Every process is killed once while purchases stream through; afterwards nothing may be lost or doubled."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from shared.contracts.topics import DECISIONS
from tests.e2e.system import Log, System

RATE = 120
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
            await log.grows(DECISIONS.name, PROGRESS)
            assert process.running, system.log_of(name)[-2000:]
            assert process.pid != before
        for part in (system.stack.valkey, system.stack.kafka, system.stack.bigquery):
            part.kill()
            part.start()
            await log.grows(DECISIONS.name, PROGRESS)
        system.supervisor.retire("ingestor")
        report = system.ledger()
    assert report["balanced"], json.dumps(report["invariants"], indent=1)
    assert report["lag"] == {}
    assert report["invariants"]["P2"]["checked"] >= 8 * PROGRESS
