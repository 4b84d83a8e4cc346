"""The monitor on the emulator: what is read, what is written, and that no look counts a purchase twice."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from services.trainer.cli import parse
from services.trainer.commands import Trainer
from services.trainer.evaluate import Economics
from services.trainer.examples import Examples
from services.trainer.monitoring.alarms import LOOK_BACK_DAYS
from services.trainer.monitoring.command import STEPS, Monitoring
from services.trainer.monitoring.look import Look
from services.trainer.monitoring.monitor import Monitor
from services.trainer.monitoring.reference import decode_reference, encode_reference
from services.trainer.settings import TrainerSection, TrainerSettings
from services.trainer.warehouse import Warehouse, WarehouseUnavailable
from shared.contracts.identity import from_epoch_micros
from shared.feature_definitions import FEATURE_SET_VERSION
from shared.feature_definitions.windows import MICROS_PER_DAY
from shared.model_artifact.files import ModelFiles
from shared.model_artifact.registry import ModelRegistry
from shared.settings import BigQuerySettings
from shared.warehouse import tables
from shared.warehouse.clients import bigquery_client
from shared.warehouse.columns import Table
from shared.warehouse.schema import ensure_warehouse
from tests.integration.trainer.monitored import DECLINED, LOADED, OLDER, rows_of, write
from tests.research.simulated import none_by_chance, simulated_history

pytestmark = pytest.mark.integration

PROJECT = "flit-monitor-test"
DAYS, DAILY = 112, 45


@dataclass(frozen=True)
class Watched:
    settings: BigQuerySettings
    folder: Path
    examples: Examples
    files: ModelFiles

    def look(self, warehouse: Warehouse | None = None, files: ModelFiles | None = None) -> Look:
        monitor = Monitor(warehouse or Warehouse(self.settings), none_by_chance, Economics(), lambda _: None)
        files = files or self.files
        return monitor.look(files, monitor.reference(files))

    def rows(self, table: Table) -> list[dict[str, Any]]:
        found = bigquery_client(self.settings).list_rows(f"{PROJECT}.{table.id}")
        return [dict(row.items()) for row in found]

    def counts(self) -> dict[int, int]:
        """Purchases by day, as the latest tiles have them."""
        tiles = sorted(self.rows(tables.DRIFT_HISTOGRAMS), key=lambda row: row["evaluated_at"])
        return {row["day"]: row["rows"] for row in tiles}

    @property
    def until_day(self) -> int:
        return int(self.examples.occurred_us.max()) // MICROS_PER_DAY

    def by_day(self) -> dict[int, int]:
        day = self.examples.occurred_us // MICROS_PER_DAY
        return {each: int((day == each).sum()) for each in range(self.until_day - LOOK_BACK_DAYS, self.until_day)}


@pytest.fixture(scope="module")
def watched(bigquery_endpoints: BigQuerySettings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    settings = bigquery_endpoints.model_copy(update={"project": PROJECT})
    folder = tmp_path_factory.mktemp("monitor")
    ensure_warehouse(settings)
    history = simulated_history("bnpl", DAYS, DAILY, seed=9)
    rows = rows_of(history.examples, history.expected_rate.tolist())
    rows[tables.DECISIONS].append(rows[tables.DECISIONS][-1] | {"kafka_offset": len(history.examples)})  # repeated
    write(settings, rows)
    registry = ModelRegistry(str(folder / "models"))
    trainer = Trainer(options(settings, folder), Warehouse(settings), registry, lambda _: None)
    version = trainer.train(parse(["train", "--family", "logistic"]))["version"]
    yield Watched(settings, folder, history.examples, registry.load(version))


def options(settings: BigQuerySettings, folder: Path) -> TrainerSettings:
    return TrainerSettings(bigquery=settings, trainer=TrainerSection(reports=str(folder / "reports"), check_data=False))


@pytest.fixture(scope="module")
def first_look(watched: Watched) -> Look:
    return watched.look()


def test_a_model_carries_what_purchases_looked_like_lent_or_not(watched: Watched) -> None:
    assert watched.files.reference is not None
    reference = decode_reference(watched.files.reference)
    day = watched.examples.occurred_us // MICROS_PER_DAY
    assert reference.rows == ((day >= reference.first_day) & (day < reference.end_day)).sum()
    assert list(reference.features) == watched.files.manifest.feature_names


def test_a_model_older_than_references_is_watched_with_the_one_it_would_have_had(watched: Watched) -> None:
    older = replace(watched.files, reference=None)
    monitor = Monitor(Warehouse(watched.settings), none_by_chance, Economics(), lambda _: None)
    assert encode_reference(monitor.reference(older)) == watched.files.reference


def test_a_first_look_counts_each_purchase_of_its_days_once(watched: Watched, first_look: Look) -> None:
    assert first_look.days_read == LOOK_BACK_DAYS
    assert watched.counts() == watched.by_day()
    assert first_look.purchases == sum(list(watched.by_day().values())[-7:])


def test_a_stable_stream_amounts_to_nothing(first_look: Look) -> None:
    assert first_look.drifted == []
    assert first_look.lost == []


def test_what_was_found_is_in_the_warehouse(watched: Watched, first_look: Look) -> None:
    written = [row for row in watched.rows(tables.DRIFT_METRICS) if row["kind"] is not None]
    assert {(row["kind"], row["feature"], row["window_days"]) for row in written} >= {
        ("feature", "amount", 28), ("prediction", "probability", 7), ("segment", "currency", 7),
    }  # fmt: skip
    periods = [row for row in watched.rows(tables.MODEL_PERFORMANCE) if row["period"] == "four weeks"]
    earliest = min(periods, key=lambda row: row["window_from"])
    assert {row["model_version"] for row in periods} == {OLDER}
    assert earliest["defaults"] > 0
    assert abs(earliest["auc"] - earliest["estimated_auc"]) < 4 * earliest["estimated_auc_error"]
    assert max(periods, key=lambda row: row["window_from"])["auc"] is None


def test_only_what_was_lent_and_has_matured_is_realized(watched: Watched, first_look: Look) -> None:
    examples, number = watched.examples, np.arange(len(watched.examples))
    lent = (number % DECLINED != 0) & (number % LOADED != 0)
    lent &= examples.occurred_us // MICROS_PER_DAY < watched.until_day
    matured = lent & (examples.mature_us <= examples.occurred_us.max())
    days = [each for each in first_look.periods if each.kind == "day"]
    assert sum(each.estimate.rows for each in days) == lent.sum()
    assert sum(each.on_matured.rows for each in days if each.on_matured) == matured.sum()


def test_each_monday_it_is_worked_out_how_far_the_model_is_believed(watched: Watched, first_look: Look) -> None:
    """From what has matured by then of what the model never learnt from; once, and not where that is nothing."""

    def kept() -> list[dict[str, Any]]:
        return [row for row in watched.rows(tables.MODEL_EVALUATIONS) if row["kind"] == "recalibration"]

    assert kept() == [], "the model in service has learnt from all that has matured"
    examples, manifest = watched.examples, watched.files.manifest
    learnt_until = int(examples.occurred_us.min()) + 7 * MICROS_PER_DAY
    window = msgspec.structs.replace(
        manifest.data_window,
        validate_from=manifest.data_window.train_from,
        test_to=from_epoch_micros(learnt_until),
    )
    earlier = msgspec.structs.replace(manifest, version="an-earlier-model", data_window=window)
    for _ in range(2):
        watched.look(files=replace(watched.files, manifest=earlier))
    [row] = kept()
    monday_us = row["window_to"].timestamp() * 1e6
    assert (row["model_version"], row["window_to"].weekday(), row["window_to"].hour) == ("an-earlier-model", 0, 0)
    assert 0 <= watched.until_day - monday_us // MICROS_PER_DAY < 7
    number = np.arange(len(examples))
    fresh = (examples.occurred_us > learnt_until) & (examples.occurred_us < monday_us - 28 * MICROS_PER_DAY)
    fresh &= (examples.mature_us <= monday_us) & ((number % DECLINED != 0) | (number % LOADED == 0))
    assert row["rows"] == pytest.approx(fresh.sum(), rel=0.01)
    assert row["metrics"]["defaults"] == pytest.approx(examples.label[fresh].sum(), rel=0.05)
    assert row["metrics"]["defaults"] > 30
    assert 0.7 < row["metrics"]["slope"] < 1.3


def test_freshness_and_fallbacks_are_those_of_the_decisions(first_look: Look) -> None:
    fresh = first_look.freshness
    assert 0.02 <= fresh.age_s[0.5] <= 0.04
    assert set(fresh.degraded) == {"redis_away"}
    assert 0 < fresh.degraded_share < 0.1


def test_a_repeated_look_reads_no_day_and_writes_no_row(watched: Watched, first_look: Look) -> None:
    written = (tables.DRIFT_HISTOGRAMS, tables.DRIFT_METRICS, tables.MODEL_PERFORMANCE, tables.MODEL_EVALUATIONS)
    before = [len(watched.rows(table)) for table in written]
    again = watched.look()
    assert again.days_read == 0
    assert again.drift == first_look.drift
    assert [len(watched.rows(table)) for table in written] == before


@pytest.mark.slow
def test_a_look_that_is_interrupted_is_made_good_by_the_next(watched: Watched, first_look: Look) -> None:
    other = replace(watched.files, manifest=msgspec.structs.replace(watched.files.manifest, version="interrupted"))

    class Interrupted(Warehouse):
        left = 2

        def insert(self, table: Table, records: Sequence[dict[str, Any]]) -> None:
            if self.left == 0:
                raise WarehouseUnavailable("gone in the middle of a look")
            self.left -= 1
            super().insert(table, records)

    with pytest.raises(WarehouseUnavailable):
        watched.look(Interrupted(watched.settings), other)
    resumed = watched.look(files=other)
    assert resumed.days_read == LOOK_BACK_DAYS - 14
    assert resumed.drift == first_look.drift


def test_broken_records_and_features_that_come_out_otherwise_are_counted(watched: Watched, first_look: Look) -> None:
    last = watched.examples.take(watched.examples.occurred_us // MICROS_PER_DAY == watched.until_day - 2)
    number = np.flatnonzero(np.isin(watched.examples.event_id, last.event_id))
    decided = np.flatnonzero(number % LOADED != 0)[:4]
    when = from_epoch_micros(int(last.occurred_us[0]) + 60_000_000)
    letters = [
        {"reason": "type", "kafka_timestamp": when, "kafka_topic": "d", "kafka_partition": 0, "kafka_offset": i}
        for i in range(3)
    ]
    computed = [
        {
            "event_id": last.event_id[i],
            "customer_id": last.customer_id[i],
            "occurred_at": from_epoch_micros(int(last.occurred_us[i])),
            "feature_set_version": FEATURE_SET_VERSION,
            "features": "{}",
            "feature_hash": "another" if place == 0 else f"hash-{last.event_id[i]}",
            "computed_at": when,
            "kafka_timestamp": when,
            "load_id": "reprocess-1",
        }
        for place, i in enumerate(decided)
    ]
    write(watched.settings, {tables.DEAD_LETTERS: letters, tables.FEATURES: computed})
    found = watched.look()
    assert found.quality.dead_letters == {"type": 3}
    assert (found.quality.recomputed, found.quality.mismatch_share) == (4, 0.25)
    assert watched.counts() == watched.by_day(), "computed again is not bought again"


def test_the_command_answers_with_its_concerns_and_leaves_two_pages(watched: Watched) -> None:
    steps: list[str] = []
    registry = ModelRegistry(str(watched.folder / "models"))
    monitoring = Monitoring(
        options(watched.settings, watched.folder), Warehouse(watched.settings), registry, steps.append
    )
    answer = monitoring.monitor(parse(["monitor"]))
    assert answer["version"] == watched.files.manifest.version
    assert json.loads(json.dumps(answer, allow_nan=False))["concerns"].keys() == {"broken input"}
    text = Path(answer["html"]).read_text()
    [detail] = Path(answer["html"]).parent.glob("monitor-*-features.html")
    assert f'href="{detail.name}"' in text
    assert "<html" in detail.read_text()
    assert len(steps) == STEPS


def test_an_outcome_that_is_corrected_has_its_periods_written_again(watched: Watched, first_look: Look) -> None:
    """Though no more has matured than before."""
    examples, number = watched.examples, np.arange(len(watched.examples))
    matured = examples.mature_us <= examples.occurred_us.max() - 7 * MICROS_PER_DAY
    one = examples.take(
        np.flatnonzero((number % DECLINED != 0) & (number % LOADED != 0) & (examples.label == 0) & matured)[-1:]
    )
    watched.look()
    before = len(watched.rows(tables.MODEL_PERFORMANCE))
    corrected = rows_of(replace(one, label=np.ones(1, np.int8)), [0.05], first=3 * LOADED * 10**6 + 1)
    write(watched.settings, {tables.OUTCOMES: corrected[tables.OUTCOMES]})
    watched.look()
    written = sorted(watched.rows(tables.MODEL_PERFORMANCE), key=lambda row: row["evaluated_at"])[before:]
    assert {row["period"] for row in written} == {"week", "four weeks"}, "its day has too few defaults for any figure"


def test_a_purchase_that_comes_late_has_its_day_counted_again(watched: Watched) -> None:
    day = watched.until_day - 3
    late = watched.examples.take(np.flatnonzero(watched.examples.occurred_us // MICROS_PER_DAY == day)[:1])
    late = replace(late, event_id=np.array(["a-late-one"], object))
    write(watched.settings, rows_of(late, [0.05], first=LOADED * 10**6 + 1))
    found = watched.look()
    assert found.days_read == 1
    assert watched.counts()[day] == watched.by_day()[day] + 1
