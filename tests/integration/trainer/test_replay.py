"""`python -m services.trainer replay` on rows that the sink's own code wrote into the emulator."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from services.sink.chain import beginning, chained
from shared.contracts import topics
from shared.model_artifact.registry import ModelRegistry
from shared.settings import BigQuerySettings
from shared.warehouse import tables
from shared.warehouse.schema import ensure_warehouse
from tests.integration.trainer.test_trainer_on_the_warehouse import trainer
from tests.integration.warehouse.rows import append, query
from tests.research.simulated import simulated_history
from tests.unit.trainer.decided import SCENES, Past, decided, trained

DECIDED = 360
MANY = 10_000
PROJECT, MANY_PROJECT = "flit-replay-test", "flit-replay-many"
AT_ONCE = 5_000
TABLE = f"`{{project}}.{tables.DECISIONS.id}`"


@dataclass(frozen=True)
class World:
    settings: BigQuerySettings
    folder: Path
    past: Past

    def run(self, *arguments: str) -> tuple[int, dict[str, Any]]:
        """Exit status and answer."""
        done = trainer(self.settings, self.folder, "replay", *arguments)
        assert done.stdout, done.stderr
        return done.returncode, json.loads(done.stdout)

    @contextmanager
    def changed(self, event_id: str, change: str) -> Iterator[None]:
        """One decision's row, changed for a while."""
        kept = f"`{{project}}.{tables.DECISIONS.dataset}.kept`"
        query(self.settings, f"CREATE OR REPLACE TABLE {kept} AS SELECT * FROM {TABLE} WHERE event_id = '{event_id}'")
        query(self.settings, f"UPDATE {TABLE} SET {change} WHERE event_id = '{event_id}'")
        try:
            yield
        finally:
            query(self.settings, f"DELETE FROM {TABLE} WHERE event_id = '{event_id}'")
            query(self.settings, f"INSERT INTO {TABLE} SELECT * FROM {kept}")


def written(settings: BigQuerySettings, folder: Path, count: int) -> World:
    ensure_warehouse(settings)
    history = simulated_history("bnpl_history", days=110, daily=max(25, count // 80), seed=6)
    registry = ModelRegistry(str(folder / "models"))
    past = asyncio.run(decided(registry, trained(registry, history), history, count, folder))
    assert len(past.decisions) == count
    rows = past.rows()
    for partition in {row["kafka_partition"] for row in rows[tables.DECISIONS]}:
        mine = [row for row in rows[tables.DECISIONS] if row["kafka_partition"] == partition]
        append(settings, tables.DECISIONS, chained(mine, beginning(topics.DECISIONS.name, partition)))
    for start in range(0, count, AT_ONCE):
        append(settings, tables.TRANSACTIONS, rows[tables.TRANSACTIONS][start : start + AT_ONCE])
    return World(settings, folder, past)


@pytest.fixture(scope="module")
def world(bigquery_endpoints: BigQuerySettings, tmp_path_factory: pytest.TempPathFactory) -> World:
    settings = bigquery_endpoints.model_copy(update={"project": PROJECT})
    return written(settings, tmp_path_factory.mktemp("replay"), DECIDED)


def event_of(world: World, number: int = 0) -> str:
    return str(json.loads(world.past.decisions[number].value or b"")["event_id"])


def test_all_stored_decisions_are_made_again_byte_for_byte(world: World) -> None:
    status, answer = world.run("--all")
    assert (status, answer["replayed"], answer["identical"]) == (0, DECIDED, DECIDED), answer


def test_one_decision_is_shown_with_its_age_and_latency(world: World) -> None:
    record = world.past.decisions[DECIDED // SCENES * 3 + 1]
    stored = json.loads(record.value or b"")
    status, answer = world.run(stored["event_id"])
    assert (status, answer["result"]) == (0, "identical")
    assert answer["decision"] == stored
    assert (answer["partition"], answer["offset"]) == (record.partition, record.offset)
    assert answer["latency_ms"] > 0
    assert answer["event_age_ms"] > 0


def test_a_limit_draws_the_same_decisions_each_time_and_a_time_takes_its_own(world: World) -> None:
    status, answer = world.run("--all", "--limit", "40")
    assert (status, answer["identical"]) == (0, 40)
    moments = sorted(json.loads(record.value or b"")["decided_at"] for record in world.past.decisions)
    middle = moments[len(moments) // 2]
    later = [moment for moment in moments if moment >= middle]
    _, answer = world.run("--all", "--since", middle)
    assert answer["identical"] == len(later)
    _, answer = world.run("--all", "--until", middle)
    assert answer["identical"] == DECIDED - len(later)


def test_a_record_that_was_changed_in_the_warehouse_is_named(world: World) -> None:
    event_id = event_of(world, 50)
    with world.changed(event_id, 'record_json = REPLACE(record_json, \'"channel":"\', \'"channel": "\')'):
        status, answer = world.run(event_id)
        assert (status, answer["result"]) == (1, "different")
        assert {"record_sha256", "bytes"} == set(answer["differences"])
        status, answer = world.run("--all")
        assert (status, answer["identical"], answer["different"]) == (1, DECIDED - 1, 1)
        assert answer["examples"]["different"][0]["event_id"] == event_id


def test_an_erased_decision_is_told_from_a_wrong_one(world: World) -> None:
    event_id = event_of(world, 51)
    with world.changed(event_id, "record_json = NULL, customer_id = NULL"):
        status, answer = world.run(event_id)
        assert (status, answer["result"], answer["hindrance"]) == (3, "not replayable", "erased")
        status, answer = world.run("--all")
        assert (status, answer["not_replayable"]) == (3, {"erased": 1})


def test_an_event_without_a_decision_is_refused_in_one_line(world: World) -> None:
    done = trainer(world.settings, world.folder, "replay", "x' OR TRUE --")
    assert done.returncode == 1
    assert "holds no decision" in done.stderr


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_replay_is_byte_identical_for_10_000_stored_decisions(
    bigquery_endpoints: BigQuerySettings, tmp_path: Path
) -> None:
    settings = bigquery_endpoints.model_copy(update={"project": MANY_PROJECT})
    many = written(settings, tmp_path, MANY)
    status, answer = many.run("--all")
    assert (status, answer["replayed"], answer["identical"]) == (0, MANY, MANY), answer
