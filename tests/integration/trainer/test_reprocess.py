"""A new feature set beside the one in service: the past made anew, a model of it, and the switch."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from services.sink.pipeline import Rules, rows_of
from services.trainer.past import Past, Sample
from services.trainer.warehouse import Warehouse
from shared.contracts import topics
from shared.contracts.events import Verdict, encode
from shared.contracts.headers import Headers
from shared.contracts.identity import from_epoch_micros
from shared.contracts.transactions import Limits
from shared.feature_definitions import FEATURE_SET_VERSION
from shared.feature_definitions.windows import MICROS_PER_DAY
from shared.model_artifact.registry import ModelRegistry
from shared.settings import BigQuerySettings
from shared.warehouse import tables
from shared.warehouse.clients import bigquery_client
from shared.warehouse.columns import ColumnType, Row, Table
from shared.warehouse.schema import ensure_warehouse
from tests.integration.trainer.test_trainer_on_the_warehouse import trainer
from tests.research.simulated import SimulatedHistory, none_by_chance, simulated_history
from tests.unit.scorer.parts import register

pytestmark = [pytest.mark.integration, pytest.mark.slow]

PROJECT = "flit-reprocess-test"
OLD_SET = "0-before"
OLD_FEATURES = ("amount", "tenure_days", "credit_score_rank", "verification_rank", "income_rank", "purchases_24h")
BATCH = 1000


@dataclass(frozen=True)
class Record:
    topic: str
    offset: int
    key: bytes
    value: bytes
    timestamp: int
    partition: int = 0
    headers: Headers = field(default_factory=list)


@dataclass(frozen=True)
class Reprocessed:
    settings: BigQuerySettings
    history: SimulatedHistory
    folder: Path
    answer: dict[str, Any]

    def run(self, *arguments: str) -> dict[str, Any]:
        return run(self.settings, self.folder, *arguments)


def records(history: SimulatedHistory) -> Iterator[Record]:
    for purchase in history.purchases:
        transaction, when = purchase.accepted.transaction, purchase.accepted.occurred_us // 1000
        key = transaction.customer_id.encode()
        yield Record(topics.TRANSACTIONS.name, purchase.offset, key, encode(transaction), when)
    for logged in history.outcomes:
        key, when = logged.outcome.customer_id.encode(), logged.observed_us // 1000
        yield Record(topics.OUTCOMES.name, logged.offset, key, encode(logged.outcome), when)


def as_json(table: Table, row: Row) -> dict[str, Any]:
    kinds = {column.name: column.type for column in table.columns}

    def plain(name: str, value: Any) -> Any:
        if value is not None and kinds[name] is ColumnType.TIMESTAMP:
            return from_epoch_micros(value)
        return str(value) if kinds[name] is ColumnType.NUMERIC and value is not None else value

    return {name: plain(name, value) for name, value in row.items()}


def decisions(history: SimulatedHistory, late_checkout: int) -> Iterator[dict[str, Any]]:
    """As decided on an earlier feature set. `late_checkout`: one that had not seen the purchases before it."""
    names = history.examples.feature_names
    for purchase in history.purchases:
        transaction, offset = purchase.accepted.transaction, purchase.offset
        values = dict(zip(names, history.examples.features[offset].tolist(), strict=True))
        yield {
            "event_id": transaction.event_id, "transaction_id": transaction.transaction_id,
            "customer_id": transaction.customer_id, "occurred_at": transaction.occurred_at,
            "prediction_timestamp": transaction.occurred_at, "decision": "approve", "feature_set_version": OLD_SET,
            "features": json.dumps({name: None if np.isnan(values[name]) else values[name] for name in OLD_FEATURES}),
            "as_of_transactions": -1 if offset == late_checkout else offset - 1, "as_of_outcomes": offset - 1,
            "kafka_timestamp": transaction.occurred_at, "kafka_topic": topics.DECISIONS.name, "kafka_partition": 0,
            "kafka_offset": offset,
        }  # fmt: skip


def load(settings: BigQuerySettings, rows: Mapping[Table, Sequence[Mapping[str, Any]]]) -> None:
    client = bigquery_client(settings)
    for table, of_table in rows.items():
        for start in range(0, len(of_table), BATCH):
            assert not client.insert_rows_json(f"{PROJECT}.{table.id}", of_table[start : start + BATCH])


def repeat_customer(history: SimulatedHistory) -> int:
    """The offset of the last purchase of somebody who had bought before."""
    seen: Counter[str] = Counter()
    found = -1
    for purchase in history.purchases:
        customer = purchase.accepted.transaction.customer_id
        if seen[customer]:
            found = purchase.offset
        seen[customer] += 1
    assert found > 0
    return found


@pytest.fixture(scope="module")
def reprocessed(bigquery_endpoints: BigQuerySettings, tmp_path_factory: pytest.TempPathFactory) -> Reprocessed:
    settings = bigquery_endpoints.model_copy(update={"project": PROJECT})
    folder = tmp_path_factory.mktemp("reprocess")
    ensure_warehouse(settings)
    history = simulated_history("bnpl_history", days=112, daily=60, seed=5)
    rows: dict[Table, list[dict[str, Any]]] = {tables.TRANSACTIONS: [], tables.OUTCOMES: []}
    for record in records(history):
        for table, row in rows_of(record, Rules(1, Limits())):
            if table in rows:
                rows[table].append(as_json(table, row))
    load(settings, rows | {tables.DECISIONS: list(decisions(history, repeat_customer(history)))})
    return Reprocessed(settings, history, folder, run(settings, folder, "reprocess"))


def run(settings: BigQuerySettings, folder: Path, *arguments: str) -> dict[str, Any]:
    done = trainer(settings, folder, *arguments)
    assert done.returncode == 0, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def test_every_purchase_but_the_one_without_an_exact_moment_got_its_features(reprocessed: Reprocessed) -> None:
    purchases = len(reprocessed.history.purchases)
    assert reprocessed.answer["feature_set_version"] == FEATURE_SET_VERSION
    assert (reprocessed.answer["written"], reprocessed.answer["inexact"]) == (purchases - 1, 1)
    assert reprocessed.answer["present"] == 0


def test_they_equal_those_that_the_stream_would_have_made(reprocessed: Reprocessed) -> None:
    history = reprocessed.history.examples
    as_of = int(history.occurred_us.max())
    read = Warehouse(reprocessed.settings).matured_examples(as_of, FEATURE_SET_VERSION, none_by_chance).ordered()
    expected = history.ordered().matured(as_of)
    known = np.isin(expected.event_id.astype(str), read.event_id.astype(str))
    assert len(read) >= known.size - 1
    assert np.array_equal(read.columns(expected.feature_names), expected.take(known).features, equal_nan=True)


def test_a_second_run_finds_them_and_writes_nothing(reprocessed: Reprocessed) -> None:
    again = reprocessed.run("reprocess")
    assert (again["written"], again["present"]) == (0, reprocessed.answer["written"])
    assert len(Past(Warehouse(reprocessed.settings)).present(FEATURE_SET_VERSION, 0)) == reprocessed.answer["written"]


def test_a_sample_is_of_so_many_customers_with_all_of_their_past(reprocessed: Reprocessed) -> None:
    purchases = reprocessed.history.purchases
    until_us = purchases[-1].accepted.occurred_us + 1
    since_us = until_us - 7 * MICROS_PER_DAY
    past = Past(Warehouse(reprocessed.settings), Sample(since_us, until_us, 20))
    sampled = [each.accepted.transaction for each in past.purchases(0)]
    customers = {each.customer_id for each in sampled}
    late = {p.accepted.transaction.customer_id for p in purchases if p.accepted.occurred_us >= since_us}
    assert len(customers) == 20 and customers < late
    theirs = [p.accepted.transaction for p in purchases if p.accepted.transaction.customer_id in customers]
    assert [each.event_id for each in sampled] == [each.event_id for each in theirs]
    assert {each.outcome.customer_id for each in past.outcomes(0)} <= customers


def test_a_range_takes_in_only_its_purchases_with_the_whole_past_behind_them(reprocessed: Reprocessed) -> None:
    middle = int(np.median(reprocessed.history.examples.occurred_us))
    part = reprocessed.run("reprocess", "--since", from_epoch_micros(middle))
    assert part["present"] == int((reprocessed.history.examples.occurred_us >= middle).sum()) - part["inexact"]


def test_a_model_of_the_new_set_is_judged_against_the_old_one_on_the_old_ones_features(
    reprocessed: Reprocessed,
) -> None:
    registry = ModelRegistry(str(reprocessed.folder / "models"))
    coefficients = (0.0, -0.001, -0.3, -0.3, -0.1, 0.2)
    old = register(registry, names=OLD_FEATURES, coefficients=coefficients, feature_set_version=OLD_SET)
    registry.promote(old, "test")
    new = reprocessed.run("train")
    assert registry.load(new["version"]).manifest.feature_set_version == FEATURE_SET_VERSION
    assert any(f"champion {old}: log-loss" in reason for reason in new["reasons"])
    reprocessed.run("promote", new["version"])
    assert (registry.current(), registry.previous()) == (new["version"], old)


def test_a_backtest_tells_what_another_model_and_policy_would_have_done(reprocessed: Reprocessed) -> None:
    registry = ModelRegistry(str(reprocessed.folder / "models"))
    version = registry.current()
    assert version is not None
    found = reprocessed.run("backtest", "--model", version)
    purchases = len(reprocessed.history.purchases)
    assert found["purchases"] + found["left_out"] == purchases
    assert found["logged"]["approval_rate"] == 1.0  # every one was logged as approved
    assert found["proposed"]["with_known_outcome"] < found["logged"]["with_known_outcome"]
    assert found["changed"] == sum(count for move, count in found["moves"].items() if move != "approve to approve")
    assert sum(part["purchases"] for part in found["segments"]["instalments"].values()) == found["purchases"]
    assert "<html" in Path(found["html"]).read_text()


def test_a_correction_that_came_later_changes_no_backtest_of_an_earlier_moment(reprocessed: Reprocessed) -> None:
    past = Past(Warehouse(reprocessed.settings))
    end_us = max(purchase.accepted.occurred_us for purchase in reprocessed.history.purchases)
    as_of_us = end_us - 14 * MICROS_PER_DAY

    def known() -> dict[str, bool]:
        cases = [case for case, _ in past.cases(0, end_us + 1, as_of_us, FEATURE_SET_VERSION)]
        return {case.transaction.event_id: case.defaulted for case in cases if case.defaulted is not None}

    before = known()
    assert 0 < sum(before.values()) < len(before)
    corrected = [
        {
            "event_id": logged.outcome.event_id, "customer_id": logged.outcome.customer_id,
            "defaulted": not logged.outcome.defaulted, "observed_at": from_epoch_micros(as_of_us + MICROS_PER_DAY),
            "kafka_timestamp": from_epoch_micros(as_of_us + MICROS_PER_DAY), "kafka_topic": topics.OUTCOMES.name,
            "kafka_partition": 0, "kafka_offset": 10**6 + number,
        }
        for number, logged in enumerate(reprocessed.history.outcomes[:200])
    ]  # fmt: skip
    load(reprocessed.settings, {tables.OUTCOMES: corrected})
    assert known() == before


def test_a_backtest_knows_what_reviewers_and_checkouts_said_last(reprocessed: Reprocessed) -> None:
    purchases = reprocessed.history.purchases
    off, turned_away = (each.accepted.transaction.event_id for each in purchases[:2])
    words = ((off, "cancel", None), (turned_away, "verdict", "approve"), (turned_away, "verdict", "decline"))
    updates = [
        {
            "update_id": f"update-{number}", "event_id": event_id, "kind": kind, "verdict": verdict,
            "kafka_timestamp": from_epoch_micros(purchases[0].accepted.occurred_us),
            "kafka_topic": topics.DECISION_UPDATES.name, "kafka_partition": 0, "kafka_offset": number,
        }
        for number, (event_id, kind, verdict) in enumerate(words)
    ]  # fmt: skip
    load(reprocessed.settings, {tables.DECISION_UPDATES: updates})
    until_us = purchases[-1].accepted.occurred_us + 1
    cases = [
        case
        for case, _ in Past(Warehouse(reprocessed.settings)).cases(0, until_us, until_us, FEATURE_SET_VERSION)
        if case.cancelled or case.reviewed is not None
    ]
    assert {
        case.transaction.event_id: (case.decision, case.reviewed, case.cancelled, case.defaulted) for case in cases
    } == {
        off: (Verdict.APPROVE, None, True, None),
        turned_away: (Verdict.APPROVE, Verdict.DECLINE, False, None),
    }
