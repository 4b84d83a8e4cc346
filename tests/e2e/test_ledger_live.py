"""The audit of a system that goes on meanwhile: it neither disturbs it nor is led astray by what comes in."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from shared.contracts.topics import DECISIONS
from tests.e2e.system import Log, System

RATE = 40
AUDITS = 2


@pytest.mark.timeout(300)
async def test_the_ledger_of_a_running_system_balances_each_time(tmp_path: Path) -> None:
    settings = {"INGESTOR__RATE": str(RATE)}
    with System(tmp_path, ("simulator", "features", "scorer", "sink", "ingestor"), settings) as system:
        log = Log(system.stack.kafka.bootstrap_servers)
        await log.grows(DECISIONS.name, RATE)
        checked = []
        for _ in range(AUDITS):
            report = system.ledger()
            assert report["balanced"], json.dumps(report, indent=1)
            checked.append(report["invariants"]["P2"]["checked"])
            await log.grows(DECISIONS.name, RATE)
        assert checked == sorted(set(checked))  # each saw what had come in since
