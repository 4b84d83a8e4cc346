"""`score` on the emulator: stored decisions, asked again."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import pyarrow.parquet
import pytest

from services.trainer.cli import parse
from services.trainer.examples import TrainingRefused
from services.trainer.score_command import Scoring
from services.trainer.settings import TrainerSettings
from services.trainer.warehouse import Warehouse
from shared.contracts.events import Decision
from shared.model_artifact.registry import ModelRegistry
from shared.settings import BigQuerySettings
from shared.warehouse import tables, views
from shared.warehouse.clients import bigquery_client
from shared.warehouse.schema import ensure_warehouse
from tests.integration.trainer.test_trainer_on_the_warehouse import trainer_environment
from tests.unit.trainer.scoring.scorable import decisions, features_of, some_examples, trained

pytestmark = pytest.mark.integration

PROJECT = "flit-score-test"
"""Of its own: the emulator is shared with tests that leave other rows."""
BATCH = 500


@dataclass(frozen=True)
class Decided:
    settings: BigQuerySettings
    folder: Path
    decisions: dict[str, Decision]
    """By event."""

    def score(self, *arguments: str) -> dict[str, Any]:
        registry = ModelRegistry(str(self.folder / "models"))
        command = Scoring(TrainerSettings(), Warehouse(self.settings), registry, lambda _: None)
        return command.score(parse(["score", *arguments]))

    def rows(self, table: str) -> list[dict[str, Any]]:
        found = Warehouse(self.settings).rows(f"SELECT * FROM `{PROJECT}.{table}`")
        rows: list[dict[str, Any]] = found.to_pylist()
        return rows


@pytest.fixture(scope="module")
def decided(bigquery_endpoints: BigQuerySettings, tmp_path_factory: pytest.TempPathFactory) -> Decided:
    settings = bigquery_endpoints.model_copy(update={"project": PROJECT})
    ensure_warehouse(settings)
    folder, examples = tmp_path_factory.mktemp("score"), some_examples()
    registry = ModelRegistry(str(folder / "models"))
    trained(examples, "xgboost", registry)
    made = decisions(registry, list(examples.event_id), features_of(examples))
    client = bigquery_client(settings)
    rows = [_stored(number, decision) for number, decision in enumerate(made)]
    for start in range(0, len(rows), BATCH):
        assert not client.insert_rows_json(f"{PROJECT}.{tables.DECISIONS.id}", rows[start : start + BATCH])
    return Decided(settings, folder, {decision.event_id: decision for decision in made})


def _stored(number: int, decision: Decision) -> dict[str, Any]:
    """What of the sink's row is looked at here."""
    return {
        "prediction_timestamp": decision.decided_at,
        "event_id": decision.event_id,
        "customer_id": decision.customer_id,
        "transaction_id": decision.transaction_id,
        "occurred_at": decision.occurred_at,
        "decision": decision.decision.value,
        "probability_of_default": decision.probability_of_default,
        "model_version": decision.model_version,
        "feature_set_version": decision.feature_set_version,
        "features": msgspec.json.encode(decision.features).decode(),
        "kafka_topic": "risk-decisions",
        "kafka_partition": 0,
        "kafka_offset": number,
        "kafka_timestamp": decision.decided_at,
    }


def test_stored_decisions_get_the_probability_that_they_were_made_on(decided: Decided) -> None:
    arguments = ["--table", views.DECISIONS_CURRENT.id, "--output", "flit_ml.scores"]
    done = subprocess.run(
        [sys.executable, "-m", "services.trainer", "score", *arguments],
        env=trainer_environment(decided.settings, decided.folder),
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert (answer["rows"], answer["left_out"]) == (len(decided.decisions), 0)
    rows = decided.rows("flit_ml.scores")
    assert {row["event_id"]: row["probability_of_default"] for row in rows} == {
        event_id: decision.probability_of_default for event_id, decision in decided.decisions.items()
    }
    assert set(rows[0]) == {
        *("event_id", "transaction_id", "customer_id", "occurred_at"),
        *("model_version", "raw_probability", "probability_of_default"),
    }

    with pytest.raises(TrainingRefused, match=r"flit_ml\.scores is there already"):
        decided.score("--table", tables.DECISIONS.id, "--output", "flit_ml.scores")
    decided.score("--table", tables.DECISIONS.id, "--output", "flit_ml.scores", "--replace")
    assert len(decided.rows("flit_ml.scores")) == len(decided.decisions)


def test_a_table_becomes_a_file(decided: Decided) -> None:
    output = decided.folder / "scores.parquet"
    decided.score("--table", tables.DECISIONS.id, "--output", str(output))
    assert pyarrow.parquet.read_metadata(output).num_rows == len(decided.decisions)


@pytest.mark.parametrize(
    ("source", "output", "why"),
    [
        (tables.DECISIONS.id, tables.FEATURES.id, "is a table of the system itself"),
        (tables.DECISIONS.id, views.DECISIONS_CURRENT.id, "is a table of the system itself"),
        (tables.DECISIONS.id, "scores.csv", "there is no dataset scores"),
        (tables.TRANSACTIONS.id, "flit_ml.others", "column feature_set_version is missing"),
        ("flit_ml.nothing", "flit_ml.others", "there is no table flit_ml.nothing"),
    ],
)
def test_what_can_not_be_read_or_must_not_be_written_is_refused(
    decided: Decided, source: str, output: str, why: str
) -> None:
    with pytest.raises(TrainingRefused, match=why):
        decided.score("--table", source, "--output", output, "--replace")
