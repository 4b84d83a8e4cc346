"""What was known at a moment, read from the emulator; vintages and a training of it, as processes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from services.trainer.maturity.known import Known, Outcomes, known_at
from services.trainer.maturity.reading import known_purchases
from services.trainer.warehouse import Warehouse
from shared.contracts.identity import from_epoch_micros
from shared.feature_definitions import FEATURE_SET_VERSION
from shared.feature_definitions.windows import MICROS_PER_DAY
from shared.model_artifact.registry import ModelRegistry
from shared.settings import BigQuerySettings
from shared.warehouse import tables
from shared.warehouse.clients import bigquery_client
from shared.warehouse.schema import ensure_warehouse
from tests.integration.trainer.test_trainer_on_the_warehouse import EXPLORING, SHARE, exploring, load, observed, trainer
from tests.research.simulated import SimulatedHistory, simulated_history

pytestmark = pytest.mark.integration

DAYS, DAILY = 130, 40
CORRECTED, UNHEARD = 10, 11
"""Places of purchases: of one whose outcome is corrected on the last day; of one without an outcome."""


@dataclass(frozen=True)
class Loaded:
    settings: BigQuerySettings
    history: SimulatedHistory
    folder: Path

    def known(self, as_of_us: int) -> Known:
        return known_purchases(Warehouse(self.settings), as_of_us, FEATURE_SET_VERSION, lambda _: SHARE)

    def run(self, *arguments: str) -> dict[str, Any]:
        done = trainer(self.settings, self.folder, *arguments)
        assert done.returncode == 0, done.stderr
        answer: dict[str, Any] = json.loads(done.stdout)
        return answer

    @property
    def end_us(self) -> int:
        return int(self.history.examples.occurred_us.max())


@pytest.fixture(scope="module")
def loaded(bigquery_endpoints: BigQuerySettings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Loaded]:
    settings = bigquery_endpoints.model_copy(update={"project": "flit-maturity-test"})
    folder = tmp_path_factory.mktemp("maturity")
    ensure_warehouse(settings)
    history = simulated_history("bnpl", DAYS, DAILY, seed=4)
    policy = exploring(folder)
    ModelRegistry(str(folder / "models")).keep_policy(policy, EXPLORING.encode())
    unheard = str(history.examples.event_id[UNHEARD])
    load(settings, history, policy)
    client, outcomes = bigquery_client(settings), f"`{settings.project}.{tables.OUTCOMES.id}`"
    client.query(f"DELETE FROM {outcomes} WHERE event_id = '{unheard}'").result()
    corrected = {
        "event_id": history.examples.event_id[CORRECTED],
        "customer_id": history.examples.customer_id[CORRECTED],
        "defaulted": not history.examples.label[CORRECTED],
        "days_to_first_missed_payment": None if history.examples.label[CORRECTED] else 28,
        "observed_at": from_epoch_micros(int(history.examples.occurred_us.max())),
        "kafka_topic": "t", "kafka_partition": 0, "kafka_offset": len(history.examples) + 1,
        "kafka_timestamp": from_epoch_micros(int(history.examples.occurred_us.max())),
    }  # fmt: skip
    assert not client.insert_rows_json(f"{settings.project}.{tables.OUTCOMES.id}", [corrected])
    yield Loaded(settings, history, folder)


def expected(history: SimulatedHistory, as_of_us: int) -> Known:
    """From the history itself, but for the two purchases that something was done about."""
    missed = [each.outcome.days_to_first_missed_payment for each in history.outcomes]
    outcomes = Outcomes(
        np.array([each.observed_us for each in history.outcomes]),
        np.array([each.outcome.defaulted for each in history.outcomes]),
        np.array([np.nan if days is None else days for days in missed], dtype=np.float64),
    )
    known = known_at(as_of_us, history.examples, outcomes)
    return known.take(observed(history.examples)[: len(known)] & (np.arange(len(known)) != UNHEARD))


@pytest.mark.parametrize("days_ago", [0.0, 31.5])
def test_what_is_read_is_what_was_known_at_that_moment(loaded: Loaded, days_ago: float) -> None:
    as_of_us = loaded.end_us - int(days_ago * MICROS_PER_DAY) - 1
    read, told = loaded.known(as_of_us), expected(loaded.history, as_of_us)
    unheard = loaded.history.examples.event_id[UNHEARD]
    rest = read.take(read.examples.event_id != unheard)
    rest = rest.take(np.argsort(rest.examples.event_id.astype(str)))
    told = told.take(np.argsort(told.examples.event_id.astype(str)))
    assert np.array_equal(rest.examples.event_id, told.examples.event_id)
    for column in ("periods", "watched", "missed_in", "repaid"):
        assert np.array_equal(getattr(rest, column), getattr(told, column)), column
    assert read.take(read.examples.event_id == unheard).counts()["silent"] == 1


def test_a_correction_is_known_from_its_own_moment_and_what_it_corrects_until_then(loaded: Loaded) -> None:
    event = loaded.history.examples.event_id[CORRECTED]
    before, after = (
        known.take(known.examples.event_id == event)
        for known in (loaded.known(loaded.end_us - 1), loaded.known(loaded.end_us))
    )
    assert bool(before.defaulted[0]) == bool(loaded.history.examples.label[CORRECTED])
    assert bool(after.defaulted[0]) != bool(before.defaulted[0])


def test_vintages_are_told_and_drawn(loaded: Loaded) -> None:
    found = loaded.run("vintages", "--by", "month")
    known = loaded.known(loaded.end_us)
    assert found["purchases"] == known.counts()
    assert found["purchases"]["silent"] == 1
    assert sum(vintage["purchases"] for vintage in found["vintages"]) == len(known)
    assert {each["instalments"] for each in found["all"]} == {4, 6}
    assert "not yet known" in Path(found["html"]).read_text()


@pytest.mark.slow
def test_a_training_of_hazard_labels_learns_from_purchases_that_have_not_matured(loaded: Loaded) -> None:
    found = loaded.run("train", "--labels", "hazard", "--family", "logistic")
    assert found["promoted"]
    assert found["labels"]["kind"] == "hazard"
    assert found["labels"]["with_an_expected_label"] > 1000
    assert found["rows"]["test"] < loaded.known(loaded.end_us).settled().label.size < sum(found["rows"].values())
    assert found["version"] == loaded.run("train", "--labels", "hazard", "--family", "logistic")["version"]
    card = json.loads(ModelRegistry(str(loaded.folder / "models")).load(found["version"]).card)
    assert "4" in card["by_segment"]["instalments"]  # six: too few among the latest that have matured
    assert set(card["fairness"]) == {"age_bracket", "state"}
    # What it has learnt from is nothing to judge it by.
    judged = loaded.run("evaluate")
    assert judged["rows"] == found["rows"]["test"]
    assert judged["auc"] == pytest.approx(found["auc"])
