"""The audit of a system that goes on meanwhile: it neither disturbs it nor is led astray by what comes in."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from shared.contracts.topics import DECISIONS
from shared.experiments import Arm, Experiment, Trials
from shared.model_artifact.registry import ModelRegistry
from tests.e2e.system import Log, System
from tests.unit.scorer.parts import register

RATE = 40
AUDITS = 2


@pytest.mark.timeout(420)
async def test_the_ledger_of_a_running_system_balances_and_its_decisions_are_made_again_to_the_byte(
    tmp_path: Path,
) -> None:
    settings = {"INGESTOR__RATE": str(RATE)}
    tried(ModelRegistry(str(tmp_path / "models")))
    with System(tmp_path, ("simulator", "features", "scorer", "sink", "ingestor"), settings) as system:
        log = Log(system.stack.kafka.bootstrap_servers)
        await log.grows(DECISIONS.name, RATE)
        checked = []
        for _ in range(AUDITS):
            begun = datetime.now(UTC)
            report = system.ledger()
            assert report["balanced"], json.dumps(report, indent=1)
            checked.append(report["invariants"]["P2"]["checked"])
            await log.grows(DECISIONS.name, RATE)
        assert checked == sorted(set(checked))  # each saw what had come in since
        assert sum(chain["links"] for chain in report["chain"].values()) >= checked[-1]
        assert all(chain["beside"] == chain["older_rows"] == 0 for chain in report["chain"].values())
        again = replayed(system, begun)  # what is later may have its row before its purchase has
        assert again["identical"] == again["replayed"] >= checked[0], json.dumps(again, indent=1)


def tried(registry: ModelRegistry) -> None:
    """A champion, a model in shadow, and one that decides for half of the customers."""
    champion, shadow, arm = (register(registry, intercept=intercept) for intercept in (-2.0, -1.5, -2.5))
    registry.promote(champion, "test")
    trial = Experiment("trial", "salt", [Arm("canary", 0.5, arm)], "2026-06-01T00:00:00.000000Z", "test")
    registry.change_trials(lambda _: Trials([shadow], trial))


def replayed(system: System, until: datetime) -> dict[str, Any]:
    command = [sys.executable, "-m", "services.trainer", "replay", "--all", "--until", until.isoformat()]
    done = subprocess.run(command, env=system.environment, check=False, timeout=120, capture_output=True, text=True)
    assert done.stdout, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer
