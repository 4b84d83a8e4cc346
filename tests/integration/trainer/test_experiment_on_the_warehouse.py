"""An experiment's decisions on the emulator: read, analysed and stopped, by the trainer as a process."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from services.trainer.experiments.exposures import Exposures, read
from services.trainer.warehouse import Warehouse
from shared.contracts.identity import canonical_time, epoch_micros, from_epoch_micros
from shared.experiments import Arm, Experiment, Trials
from shared.model_artifact.registry import ModelRegistry, Pointer
from shared.settings import BigQuerySettings
from shared.warehouse import tables
from shared.warehouse.clients import bigquery_client
from shared.warehouse.columns import Table
from shared.warehouse.schema import ensure_warehouse
from tests.integration.trainer.test_trainer_on_the_warehouse import trainer, trainer_environment
from tests.unit.scorer.parts import register
from tests.unit.trainer.experiments.traffic import Behaviour, traffic

pytestmark = pytest.mark.integration

PROJECT = "flit-experiment-test"
DECISIONS = 300
BATCH = 1000
DAY_US = 86_400_000_000
WAIT_S = 120


@dataclass(frozen=True)
class Running:
    settings: BigQuerySettings
    folder: Path
    experiment: Experiment
    exposures: Exposures

    @property
    def registry(self) -> ModelRegistry:
        return ModelRegistry(str(self.folder / "models"))

    def trainer(self, *arguments: str) -> dict[str, Any]:
        done = trainer(self.settings, self.folder, *arguments)
        assert done.returncode == 0, done.stderr
        answer: dict[str, Any] = json.loads(done.stdout)
        return answer


def load(settings: BigQuerySettings, exposures: Exposures, started_us: int) -> None:
    """As the sink would have written them, the first decision a second time; outcomes of the first half alone."""
    rows: dict[Table, list[dict[str, Any]]] = {
        tables.TRANSACTIONS: [],
        tables.DECISIONS: [],
        tables.OUTCOMES: [],
    }
    for i in range(len(exposures)):
        occurred_us = started_us - 100 * DAY_US + i if i < len(exposures) // 2 else started_us + i
        asked_us = started_us + 20_000_000 + i * 1000
        decided_us = asked_us + int(exposures.latency_s[i] * 1e6)
        ids = {"event_id": f"event-{i:06d}", "customer_id": exposures.customer_id[i]}
        place = {"kafka_topic": "t", "kafka_partition": 0, "kafka_offset": i}
        occurred_at = from_epoch_micros(occurred_us)
        rows[tables.TRANSACTIONS].append(
            ids
            | place
            | {
                "occurred_at": occurred_at,
                "kafka_timestamp": from_epoch_micros(asked_us),
                "amount": f"{exposures.amount[i]:.2f}",
                "currency": "USD",
                "installments_count": 4,
                "customer_age_bracket": exposures.age_bracket[i],
                "customer_state": exposures.state[i],
            }
        )
        rows[tables.DECISIONS].append(
            ids
            | place
            | {
                "occurred_at": occurred_at,
                "prediction_timestamp": from_epoch_micros(decided_us),
                "kafka_timestamp": from_epoch_micros(decided_us),
                **said(exposures.declined[i], i),
                "probability_of_default": float(exposures.probability[i]),
                "model_version": exposures.model_version[i],
                "variant": exposures.arm[i],
                "features": "{}",
            }
        )
        if i < len(exposures) // 2:
            matured = {"kafka_timestamp": occurred_at, "observed_at": from_epoch_micros(occurred_us + 56 * DAY_US)}
            rows[tables.OUTCOMES].append(ids | place | matured | {"defaulted": bool(exposures.defaulted[i])})
    rows[tables.DECISIONS].append(rows[tables.DECISIONS][0] | {"kafka_offset": len(exposures)})
    before = {"event_id": "earlier", "kafka_offset": -1, "prediction_timestamp": from_epoch_micros(started_us - DAY_US)}
    rows[tables.DECISIONS].append(rows[tables.DECISIONS][0] | before)
    rows[tables.DECISION_UPDATES] = [
        {"update_id": f"update-{number}", "event_id": f"event-{i:06d}", "kind": kind, "verdict": verdict}
        | {"kafka_topic": "u", "kafka_partition": 0, "kafka_offset": number}
        | {"kafka_timestamp": from_epoch_micros(started_us + 60_000_000 + number)}
        for number, (i, kind, verdict) in enumerate(said_later(exposures))
    ]
    client = bigquery_client(settings)
    for table, these in rows.items():
        for start in range(0, len(these), BATCH):
            assert not client.insert_rows_json(f"{PROJECT}.{table.id}", these[start : start + BATCH])


def said(declined: bool, number: int) -> dict[str, str]:
    """Every other decline was held by the policy's limiter: a person looks at it instead."""
    if declined and number % 2:
        return {"decision": "review", "reasons": '[{"code":"policy_decline_rate","text":"held"}]'}
    return {"decision": "decline" if declined else "approve", "reasons": "[]"}


def said_later(exposures: Exposures) -> list[tuple[int, str, str | None]]:
    """By checkouts and reviewers, of the earliest decisions; the last word counts."""
    off, turned_away = np.flatnonzero(~exposures.declined)[:2]
    approved, refused = np.flatnonzero(exposures.declined & (np.arange(len(exposures)) % 2 == 1))[:2]
    return [
        (int(off), "cancel", None),
        (int(turned_away), "verdict", "approve"),
        (int(turned_away), "verdict", "decline"),
        (int(approved), "verdict", "decline"),
        (int(approved), "verdict", "approve"),
        (int(refused), "verdict", "decline"),
    ]


def lent(exposures: Exposures) -> np.ndarray:
    """In the end."""
    found = ~exposures.declined
    for i, _, verdict in said_later(exposures):
        found[i] = verdict == "approve"
    return found


@pytest.fixture(scope="module")
def running(bigquery_endpoints: BigQuerySettings, tmp_path_factory: pytest.TempPathFactory) -> Running:
    settings = bigquery_endpoints.model_copy(update={"project": PROJECT})
    folder = tmp_path_factory.mktemp("experiment")
    ensure_warehouse(settings)
    registry = ModelRegistry(str(folder / "models"))
    # In service since before the experiment began, as the decisions in the warehouse have it.
    champion = Pointer(register(registry), "2026-01-01T00:00:00.000000Z", "test")
    (registry.root / "current").write_bytes(msgspec.json.encode(champion))
    started_us = epoch_micros(canonical_time(datetime.now(UTC))) - 3600 * 1_000_000
    experiment = Experiment(
        "trial", "salt", [Arm("canary", 0.3, register(registry, intercept=3.0))], from_epoch_micros(started_us), "test"
    )
    exposures = traffic(experiment, DECISIONS, 1, {"canary": Behaviour(declines=0.9)})
    load(settings, exposures, started_us)
    registry.change_trials(lambda _: Trials([], experiment))
    return Running(settings, folder, experiment, exposures)


def test_what_is_read_is_what_was_decided_once_each_with_what_has_matured(running: Running) -> None:
    since = epoch_micros(running.experiment.started_at)
    found = read(Warehouse(running.settings), running.experiment, since, since + DAY_US)
    written = running.exposures
    assert len(found) == len(written)
    order = np.argsort(written.latency_s * 1e6 + np.arange(DECISIONS) * 1000, kind="stable")
    for name in ("customer_id", "arm", "declined", "model_version", "age_bracket", "state"):
        assert np.array_equal(getattr(found, name), getattr(written, name)[order]), name
    np.testing.assert_allclose(found.latency_s, written.latency_s[order], atol=1e-6)
    np.testing.assert_allclose(found.amount, written.amount[order], atol=0.01)
    matured = order < DECISIONS // 2
    assert np.array_equal(found.defaulted[matured], written.defaulted[order][matured])
    assert np.isnan(found.defaulted[~matured]).all()


def test_money_and_outcomes_are_of_what_was_lent_after_reviewers_and_checkouts_had_their_say(running: Running) -> None:
    since = epoch_micros(running.experiment.started_at)
    found = read(Warehouse(running.settings), running.experiment, since, since + DAY_US)
    written = running.exposures
    order = np.argsort(written.latency_s * 1e6 + np.arange(DECISIONS) * 1000, kind="stable")
    expected = lent(written)[order]
    assert (expected != ~written.declined[order]).sum() == 3
    assert np.array_equal(found.lent, expected)
    known = found.take(expected & (order < DECISIONS // 2))
    assert sorted(found.approved_and_matured.customer_id) == sorted(known.customer_id)
    arms = running.trainer("analyse-experiment", "trial")["arms"]
    assert sum(arm["approved_and_matured"] for arm in arms.values()) == len(known)
    assert sum(arm["defaults"] for arm in arms.values()) == known.defaulted.sum()


def test_the_analysis_finds_the_assignment_sound_and_the_arm_bad(running: Running) -> None:
    found = running.trainer("analyse-experiment", "trial")
    assert found["assignment"]["p_value"] > 0.001
    assert found["assignment"]["decisions_in_another_arm_than_the_hash_says"] == 0
    assert found["decisions"] == DECISIONS
    low, high = found["against_champion"]["canary"]["declined"]["always_valid"]
    assert 0.4 < low < 0.8 < high
    assert {"decline-rate", "approval-by-group"} <= {
        each["guardrail"] for each in found["guardrails"] if each["broken"]
    }
    assert "Experiment trial" in Path(found["html"]).read_text()


def test_the_guard_as_a_process_stops_it_and_itself_ends_only_when_told_to(running: Running) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "services.trainer", "guard", "--every", "0.2"],
        env=trainer_environment(running.settings, running.folder),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + WAIT_S
    while running.registry.trials().experiment is not None:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.05)
    while not rows_of(running.settings):
        assert time.monotonic() < deadline
        time.sleep(0.2)
    process.send_signal(signal.SIGTERM)
    out, log = process.communicate(timeout=60)
    assert process.returncode == 0, log
    assert json.loads(out).keys() == {"experiment", "decisions", "stopped", "reasons"}
    said = [json.loads(line)["event"] for line in log.splitlines() if '"error"' in line]
    assert said == ["experiment_stopped", "alert"]
    [row] = rows_of(running.settings)
    detail = row["detail"] if isinstance(row["detail"], dict) else json.loads(row["detail"])
    assert (row["model_version"], detail["experiment"]) == (running.experiment.arms[0].model_version, "trial")
    assert any(reason.startswith("decline-rate of canary") for reason in detail["reasons"])
    ended = running.registry.ended_experiments("trial")
    assert [each.by for each in ended] == ["guard"]
    # And what has ended can still be analysed.
    assert running.trainer("analyse-experiment", "trial")["decisions"] == DECISIONS
    assert running.trainer("guard") == {"experiment": None, "decisions": 0, "stopped": False, "reasons": []}


def rows_of(settings: BigQuerySettings) -> list[dict[str, Any]]:
    found = bigquery_client(settings).list_rows(f"{PROJECT}.{tables.MODEL_EVALUATIONS.id}")
    return [dict(row.items()) for row in found]
