"""The trainer as a process, on the emulator: from warehouse rows to a model in service."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray

from services.trainer.cli import parse
from services.trainer.commands import STEPS, Trainer
from services.trainer.examples import Examples
from services.trainer.export import run_onnx
from services.trainer.settings import TrainerSection, TrainerSettings
from services.trainer.warehouse import Warehouse
from shared.contracts.identity import epoch_micros, from_epoch_micros
from shared.feature_definitions import FEATURE_SET_VERSION
from shared.feature_definitions.windows import MICROS_PER_DAY
from shared.model_artifact.manifest import check_golden, golden_matrix
from shared.model_artifact.registry import ModelRegistry
from shared.policy import DEFAULT_POLICY, load_policy
from shared.policy.reasons import PolicyReason
from shared.settings import BigQuerySettings
from shared.warehouse import tables
from shared.warehouse.clients import bigquery_client
from shared.warehouse.columns import Table
from shared.warehouse.schema import ensure_warehouse
from tests.research.simulated import PERIOD_US, SimulatedHistory, simulated_history
from tests.unit.trainer.synthetic import kept_features

pytestmark = pytest.mark.integration

DAYS, DAILY = 110, 50
BATCH = 1000
PROJECT = "flit-trainer-test"
"""Of its own: the emulator is shared with tests that leave other rows."""


TURNED_AWAY, STOOD_ALREADY, BY_CHANCE = 3, 4, 5
"""Which of each fifty purchases: declined at once; declined two days later; approved by chance."""

SHARE = 0.25
EXPLORING = DEFAULT_POLICY.read_text().replace(
    "exploration: null",
    f'exploration: {{share: "{SHARE}", salt: salty-enough, up_to_loss_rate: "0.9", most_expected_loss_usd: "1000"}}',
)


@dataclass(frozen=True)
class Trained:
    settings: BigQuerySettings
    history: SimulatedHistory
    folder: Path
    answer: dict[str, Any]

    @property
    def registry(self) -> ModelRegistry:
        return ModelRegistry(str(self.folder / "models"))

    def run(self, *arguments: str) -> dict[str, Any]:
        done = trainer(self.settings, self.folder, *arguments)
        assert done.returncode == 0, done.stderr
        answer: dict[str, Any] = json.loads(done.stdout)
        return answer

    def rows(self, table: Table) -> list[dict[str, Any]]:
        found = bigquery_client(self.settings).list_rows(f"{PROJECT}.{table.id}")
        return [dict(row.items()) for row in found]


def trainer_environment(settings: BigQuerySettings, folder: Path) -> dict[str, str]:
    return os.environ | {
        "BIGQUERY__PROJECT": settings.project,
        "BIGQUERY__REST_ENDPOINT": settings.rest_endpoint,
        "BIGQUERY__GRPC_ENDPOINT": settings.grpc_endpoint,
        "MODEL_REGISTRY__URI": str(folder / "models"),
        "TRAINER__REPORTS": str(folder / "reports"),
        "METRICS__PORT": "0",
    }


def trainer(settings: BigQuerySettings, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "services.trainer", *arguments],
        env=trainer_environment(settings, folder),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def _decided(number: int, occurred_us: int, policy: str) -> dict[str, Any]:
    place = number % 50
    if place == TURNED_AWAY:
        return {"decision": "decline"}
    if place == STOOD_ALREADY:
        return {"decision": "decline", "prediction_timestamp": from_epoch_micros(occurred_us + 2 * MICROS_PER_DAY)}
    if place == BY_CHANCE:
        reasons = [msgspec.to_builtins(PolicyReason.EXPLORATION.reason)]
        return {"decision": "approve", "reasons": json.dumps(reasons), "policy_version": policy}
    return {"decision": "approve", "policy_version": "another"}


def load(settings: BigQuerySettings, history: SimulatedHistory, policy: str) -> None:
    """As the sink would have written them: purchases, outcomes and decisions, a second decision of one event among
    them. `policy`: that approved some by chance."""
    client, examples = bigquery_client(settings), history.examples
    columns: dict[Table, list[dict[str, Any]]] = {
        tables.TRANSACTIONS: [],
        tables.OUTCOMES: [],
        tables.DECISIONS: [],
    }
    for i, event_id in enumerate(examples.event_id):
        occurred = from_epoch_micros(int(examples.occurred_us[i]))
        place = {"kafka_topic": "t", "kafka_partition": 0, "kafka_offset": i, "kafka_timestamp": occurred}
        ids = {"event_id": event_id, "customer_id": examples.customer_id[i]}
        columns[tables.TRANSACTIONS].append(
            ids
            | place
            | {
                "transaction_id": examples.transaction_id[i],
                "occurred_at": occurred,
                "amount": f"{examples.amount[i]:.2f}",
                "currency": "USD",
                "installments_count": int((examples.mature_us[i] - examples.occurred_us[i]) // PERIOD_US),
                "source_scores_risk_level": "low" if examples.rule_approves[i] else "medium",
            }
        )
        outcome = msgspec.to_builtins(history.outcomes[i].outcome)
        told = {name: outcome[name] for name in ("defaulted", "days_to_first_missed_payment", "observed_at")}
        columns[tables.OUTCOMES].append(ids | place | told)
        columns[tables.DECISIONS].append(
            ids
            | place
            | {
                "transaction_id": examples.transaction_id[i],
                "prediction_timestamp": occurred,
                "occurred_at": occurred,
                **_decided(i, int(examples.occurred_us[i]), policy),
                "feature_set_version": FEATURE_SET_VERSION,
                "features": kept_features(examples, i),
            }
        )
    columns[tables.DECISIONS].append(columns[tables.DECISIONS][0] | {"kafka_offset": len(examples)})
    for table, rows in columns.items():
        for start in range(0, len(rows), BATCH):
            refused = client.insert_rows_json(f"{settings.project}.{table.id}", rows[start : start + BATCH])
            assert not refused


def exploring(folder: Path) -> str:
    """The name of the policy that approved some by chance."""
    (folder / "exploring.yaml").write_text(EXPLORING)
    return load_policy(folder / "exploring.yaml").name


@pytest.fixture(scope="module")
def trained(bigquery_endpoints: BigQuerySettings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trained]:
    settings = bigquery_endpoints.model_copy(update={"project": PROJECT})
    folder = tmp_path_factory.mktemp("trainer")
    early = trainer(settings, folder, "train")
    assert early.returncode == 1, "a warehouse that isn't there is no reason to succeed"
    ensure_warehouse(settings)
    history = simulated_history("bnpl_history", DAYS, DAILY, seed=3)
    policy = exploring(folder)
    load(settings, history, policy)
    unknown = trainer(settings, folder, "train")
    assert unknown.returncode == 1
    assert f"nobody knows how often: {policy}" in unknown.stderr
    ModelRegistry(str(folder / "models")).keep_policy(policy, EXPLORING.encode())
    done = trainer(settings, folder, "train", "--hidden", str(hidden_file(folder, history)))
    assert done.returncode == 0, done.stderr
    yield Trained(settings, history, folder, json.loads(done.stdout))


def hidden_file(folder: Path, history: SimulatedHistory) -> Path:
    path = folder / "hidden.jsonl"
    examples = history.examples
    with path.open("w") as file:
        for i, rate in enumerate(history.expected_rate):
            line = {
                "transaction_id": examples.transaction_id[i],
                "customer_id": examples.customer_id[i],
                "timestamp": from_epoch_micros(int(examples.occurred_us[i])).rstrip("Z"),
                "expected_rate": rate,
            }
            file.write(json.dumps(line) + "\n")
    return path


def test_training_puts_a_sound_model_in_service(trained: Trained) -> None:
    version = trained.answer["version"]
    assert trained.answer["promoted"]
    assert trained.registry.current() == version
    files = trained.registry.load(version)
    check_golden(files.manifest, run_onnx(files.onnx, golden_matrix(files.manifest)))
    assert 0.5 < trained.answer["auc"] <= 1
    assert trained.answer["ceiling_events"] == trained.answer["rows"]["test"]
    assert trained.answer["auc_ceiling"] > 0.5


def observed(examples: Examples) -> NDArray[np.bool_]:
    return np.asarray(np.arange(len(examples)) % 50 != TURNED_AWAY)


def test_only_what_has_matured_by_the_last_purchase_was_learnt_from(trained: Trained) -> None:
    examples = trained.history.examples
    matured = (examples.mature_us <= examples.occurred_us.max()) & observed(examples)
    assert sum(trained.answer["rows"].values()) == matured.sum() < len(examples)
    assert trained.answer["window"]["as_of"] == from_epoch_micros(int(examples.occurred_us.max()))


def test_what_is_read_from_the_warehouse_is_what_was_decided_on(trained: Trained) -> None:
    examples = trained.history.examples
    as_of = int(examples.occurred_us.max())
    read = Warehouse(trained.settings).matured_examples(as_of, FEATURE_SET_VERSION, lambda _: SHARE).ordered()
    by_chance = np.arange(len(examples)) % 50 == BY_CHANCE
    written = replace(examples, weight=np.where(by_chance, 1 / SHARE, 1.0)).take(observed(examples))
    written = written.ordered().matured(as_of)
    names = written.feature_names
    assert np.array_equal(read.event_id, written.event_id)
    assert np.array_equal(read.columns(names), written.columns(names), equal_nan=True)
    for column in (
        "transaction_id",
        "customer_id",
        "occurred_us",
        "mature_us",
        "amount",
        "weight",
        "label",
        "rule_approves",
    ):
        assert np.array_equal(getattr(read, column), getattr(written, column)), column


def test_each_training_leaves_its_figures_in_the_warehouse(trained: Trained) -> None:
    rows = [row for row in trained.rows(tables.MODEL_EVALUATIONS) if row["kind"] == "training"]
    figures = rows[0]["metrics"] if isinstance(rows[0]["metrics"], dict) else json.loads(rows[0]["metrics"])
    assert rows[0]["model_version"] == trained.answer["version"]
    assert figures["auc"] == trained.answer["auc"]
    assert figures["auc_ceiling"] == trained.answer["auc_ceiling"]


def test_training_again_on_the_same_rows_gives_the_same_version(trained: Trained) -> None:
    again = trained.run("train", "--no-promote")
    assert again["version"] == trained.answer["version"]
    assert trained.registry.versions() == [trained.answer["version"]]


def test_another_time_gives_another_model_and_the_way_back_needs_no_warehouse(trained: Trained) -> None:
    earlier = from_epoch_micros(int(trained.history.examples.occurred_us.max()) - 5 * MICROS_PER_DAY)
    other = trained.run("train", "--no-promote", "--as-of", earlier)
    first = trained.answer["version"]
    assert other["version"] != first
    trained.registry.promote(other["version"], "test")
    away = BigQuerySettings(rest_endpoint="http://127.0.0.1:1", grpc_endpoint="127.0.0.1:1")
    back = trainer(away, trained.folder, "rollback")
    assert json.loads(back.stdout) == {"current": first, "previous": other["version"]}


def test_an_evaluation_of_the_model_in_service_repeats_its_own_figures_until_more_has_matured(
    trained: Trained,
) -> None:
    found = trained.run("evaluate", "--version", trained.answer["version"])
    assert found["auc"] == pytest.approx(trained.answer["auc"])
    assert found["rows"] == trained.answer["rows"]["test"]


def test_drift_compares_the_training_window_with_the_last_days(trained: Trained) -> None:
    settings = TrainerSettings(
        bigquery=trained.settings, trainer=TrainerSection(reports=str(trained.folder / "reports"))
    )
    steps: list[str] = []
    measuring = Trainer(settings, Warehouse(trained.settings), trained.registry, steps.append)
    found = measuring.drift(parse(["drift", "--version", trained.answer["version"], "--days", "10"]))
    times, window = trained.history.examples.occurred_us, trained.answer["window"]
    training = (times >= epoch_micros(window["train_from"])) & (times < epoch_micros(window["validate_from"]))
    last_days = times >= times.max() - 10 * MICROS_PER_DAY
    assert found["rows"] == {"reference": training.sum(), "later": last_days.sum()}
    rows = trained.rows(tables.DRIFT_METRICS)
    assert len(rows) == found["features"] > 0
    assert {row["feature"] for row in rows if row["drifted"]} == set(found["drifted"])
    assert "<html" in Path(found["html"]).read_text()
    assert len(steps) == STEPS["drift"]


def test_a_check_passes_where_everything_is_there_and_names_what_is_not(trained: Trained, tmp_path: Path) -> None:
    assert trainer(trained.settings, tmp_path, "--check").returncode == 0
    elsewhere = trained.settings.model_copy(update={"project": "flit-nothing-here"})
    failed = trainer(elsewhere, tmp_path, "--check")
    assert failed.returncode == 1
    assert "training_examples" in failed.stderr


def test_no_scratch_table_is_left_behind(trained: Trained) -> None:
    left = [table.table_id for table in bigquery_client(trained.settings).list_tables(f"{PROJECT}.{tables.ML}")]
    assert not [name for name in left if name.startswith("scratch")]


def test_a_trainer_killed_while_it_registers_leaves_the_registry_whole(trained: Trained, tmp_path: Path) -> None:
    ModelRegistry(str(tmp_path / "models")).keep_policy(exploring(tmp_path), EXPLORING.encode())
    process = subprocess.Popen(
        [sys.executable, "-m", "services.trainer", "train"],
        env=trainer_environment(trained.settings, tmp_path),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    models = tmp_path / "models" / "models"
    deadline = time.monotonic() + 120
    while not (models.exists() and any(models.iterdir())):
        assert process.poll() is None, "it ended before it registered anything"
        assert time.monotonic() < deadline
    process.kill()
    process.wait(10)
    registry = ModelRegistry(str(tmp_path / "models"))
    for version in registry.versions():
        registry.load(version)
    assert registry.current() in {None, *registry.versions()}
    again = trainer(trained.settings, tmp_path, "train")
    assert again.returncode == 0, again.stderr
    current = registry.current()
    assert current is not None
    registry.load(current)
