"""The views on rows that came twice, in another order, in a wrong partition, and were corrected later."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from shared.contracts import topics
from shared.contracts.events import Reason, UpdateKind, Verdict, encode
from shared.contracts.identity import EPOCH, from_epoch_micros, partition_of
from shared.settings import BigQuerySettings
from tests.factories import DAY_US, START_US, outcome, transaction_bytes
from tests.integration.warehouse.rows import query, write
from tests.unit.sink.records import PARTITIONS, LogRecord, decision, decision_update, record

START = EPOCH + timedelta(microseconds=START_US)


def bought(number: int, offset: int, **changes: Any) -> LogRecord:
    return record(topics.TRANSACTIONS, transaction_bytes(number, t_us=START_US, **changes), offset=offset)


def decided(number: int, offset: int, **changes: Any) -> LogRecord:
    made = decision(number, occurred_at=from_epoch_micros(START_US), **changes)
    return record(topics.DECISIONS, encode(made), offset=offset)


def updated(number: int, offset: int, kind: UpdateKind, verdict: Verdict | None = None) -> LogRecord:
    made = decision_update(number, update_id=f"update-{number}-{offset}", kind=kind, verdict=verdict)
    return record(topics.DECISION_UPDATES, encode(made), offset=offset)


def repaid(number: int, offset: int, *, defaulted: bool, after_days: int = 56, **changes: Any) -> LogRecord:
    body = outcome(number, defaulted=defaulted, observed_us=START_US + after_days * DAY_US)
    return record(topics.OUTCOMES, json.dumps(body).encode(), offset=offset, **changes)


def twice(topic: topics.Topic, customer_id: str, value: bytes, offset: int) -> LogRecord:
    """Of an event that two customers' purchases came under."""
    return record(topic, value, key=customer_id, offset=offset)


DECIDED_ON, OTHER = (
    next(name for name in (f"cust_{number}" for number in range(50)) if partition_of(name.encode(), PARTITIONS) == home)
    for home in (PARTITIONS - 1, 0)
)


@pytest.fixture(scope="module")
def log(warehouse: BigQuerySettings) -> BigQuerySettings:
    """0: repeated everywhere. 1: its outcome was corrected. 2: no outcome. 3: no decision. 4: six instalments.
    5: astray at first. 6: unknown number of instalments. 7: two customers' purchases, of which the one in the
    higher partition was decided. Later offsets are written first."""
    wrong = (bought(5, 0).partition + 1) % PARTITIONS
    records = [
        bought(0, 10, amount=67.51), bought(1, 1), bought(2, 2), bought(3, 3), bought(4, 4, installments={"count": 6}),
        bought(6, 6, installments={"count": None}), bought(5, 7),
        record(topics.TRANSACTIONS, transaction_bytes(5, t_us=START_US), offset=99, partition=wrong),
        decided(0, 20, decision=Verdict.DECLINE), decided(0, 5, decision=Verdict.APPROVE),
        *(decided(number, number + 30, features={"amount": float(number), "none": None}) for number in (1, 2, 4, 5, 6)),
        repaid(0, 2, defaulted=False), repaid(0, 3, defaulted=False), repaid(1, 9, defaulted=False),
        repaid(1, 4, defaulted=True), repaid(3, 5, defaulted=True), repaid(4, 6, defaulted=True),
        repaid(5, 7, defaulted=False), repaid(5, 500, defaulted=True, partition=wrong), repaid(6, 8, defaulted=False),
    ]  # fmt: skip
    records += [
        twice(topics.TRANSACTIONS, DECIDED_ON, transaction_bytes(7, t_us=START_US, customer_id=DECIDED_ON), 40),
        twice(topics.TRANSACTIONS, OTHER, transaction_bytes(7, t_us=START_US, customer_id=OTHER, amount=1.0,
                                                            installments={"count": 1}), 50),
        twice(topics.DECISIONS, DECIDED_ON, encode(decision(7, customer_id=DECIDED_ON, decision=Verdict.APPROVE,
                                                            occurred_at=from_epoch_micros(START_US))), 60),
        *(twice(topics.OUTCOMES, name, json.dumps(outcome(7, defaulted=name == OTHER, customer_id=name,
                                                          observed_us=START_US + 56 * DAY_US)).encode(), offset)
          for name, offset in ((DECIDED_ON, 10), (OTHER, 99))),
    ]  # fmt: skip
    write(warehouse, records)
    write(warehouse, [bought(0, 8, amount=67.51), bought(0, 9, amount=67.51)])
    return warehouse


def test_each_purchase_is_there_once_by_its_first_record(log: BigQuerySettings) -> None:
    sql = "SELECT event_id, kafka_offset, amount FROM `{project}.flit_ml.transactions_current`"
    found = query(log, sql + " WHERE event_id != 'event-7'")
    assert {row["event_id"]: row["kafka_offset"] for row in found} == {
        "event-0": 8, "event-1": 1, "event-2": 2, "event-3": 3, "event-4": 4, "event-5": 7, "event-6": 6,
    }  # fmt: skip
    assert len(found) == 7
    assert {row["amount"] for row in found} == {Decimal("67.51")}


def test_of_two_purchases_under_one_id_the_example_is_of_the_one_that_was_decided(log: BigQuerySettings) -> None:
    found = query(log, "SELECT customer_id FROM `{project}.flit_ml.transactions_current` WHERE event_id = 'event-7'")
    assert {row["customer_id"] for row in found} == {DECIDED_ON, OTHER} and len(found) == 2
    example = examples(log, START + timedelta(days=84))["event-7"]
    told = (example["customer_id"], example["amount"], example["installments_count"], example["defaulted"])
    assert told == (DECIDED_ON, Decimal("67.51"), 4, False)


def test_the_first_decision_on_the_topic_wins_whenever_it_was_written(log: BigQuerySettings) -> None:
    found = query(log, "SELECT event_id, decision FROM `{project}.flit_ml.decisions_current`")
    assert len(found) == 7
    assert {row["event_id"]: row["decision"] for row in found}["event-0"] == "approve"


def examples(settings: BigQuerySettings, as_of: datetime) -> dict[str, dict[str, Any]]:
    found = query(
        settings,
        "SELECT * FROM `{project}.flit_ml.training_examples` "
        f"WHERE mature_at <= TIMESTAMP '{as_of:%Y-%m-%d %H:%M:%S}+00'",
    )
    assert len({row["event_id"] for row in found}) == len(found)
    return {row["event_id"]: row for row in found}


def test_an_example_needs_a_decision_and_an_outcome_and_takes_the_latest_correction(log: BigQuerySettings) -> None:
    found = examples(log, datetime(2099, 1, 1, tzinfo=UTC))
    assert {name: row["defaulted"] for name, row in found.items()} == {
        "event-0": False, "event-1": False, "event-4": True, "event-5": False, "event-7": False,
    }  # fmt: skip


def test_an_example_counts_only_once_its_last_instalment_has_passed(log: BigQuerySettings) -> None:
    assert examples(log, START + timedelta(days=55)) == {}
    assert set(examples(log, START + timedelta(days=56))) == {"event-0", "event-1", "event-5", "event-7"}
    assert "event-4" not in examples(log, START + timedelta(days=83))
    found = examples(log, START + timedelta(days=84))
    assert found["event-4"]["mature_at"] == START + timedelta(days=84)


def test_an_example_carries_the_features_of_its_own_decision(log: BigQuerySettings) -> None:
    found = examples(log, START + timedelta(days=84))
    assert found["event-1"]["features"] == {"amount": 1.0, "none": None}
    assert found["event-1"]["feature_set_version"] == "1"
    assert found["event-1"]["transaction_id"] == "txn_00000001"
    assert found["event-4"]["source_risk_level"] == "medium"


def test_labels_join_the_flat_json_once_they_are_known(log: BigQuerySettings) -> None:
    found = query(
        log,
        "SELECT event_id, kafka_partition, json_body FROM `{project}.flit_bnpl_raw.raw_bnpl_txs_with_outcomes` "
        "WHERE _timestamp >= TIMESTAMP '1970-01-01 00:00:00+00'",
    )
    bodies = {row["event_id"]: row["json_body"] for row in found}
    assert len(found) == 12, "one row for each raw one"
    assert bodies["event-1"]["will_default"] is False
    assert bodies["event-1"]["days_to_first_missed_payment"] is None
    assert bodies["event-4"]["will_default"] is True
    assert bodies["event-4"]["days_to_first_missed_payment"] == 14
    assert "will_default" not in bodies["event-2"]
    assert bodies["event-2"]["customer_credit_score_range"] == "fair"


def test_an_outcome_that_is_sent_along_with_its_purchase_is_no_label_before_its_time(log: BigQuerySettings) -> None:
    """A simulator knows it at once; who buys today is told of in weeks."""
    in_weeks = (datetime.now(UTC) - START).days + 20
    write(log, [bought(50, 50), repaid(50, 50, defaulted=True, after_days=in_weeks)])
    [row] = query(
        log,
        "SELECT json_body FROM `{project}.flit_bnpl_raw.raw_bnpl_txs_with_outcomes` "
        "WHERE _timestamp >= TIMESTAMP '1970-01-01 00:00:00+00' AND event_id = 'event-50'",
    )
    assert "will_default" not in row["json_body"]


LOADED = """
INSERT INTO `{project}.flit_bnpl_raw.transactions`
  (event_id, customer_id, occurred_at, amount, currency, installments_count, kafka_timestamp, load_id, load_row)
SELECT event_id, customer_id, {at}, 10, 'USD', 4, {at}, 'day', 1 FROM ({people});
INSERT INTO `{project}.flit_ml_raw.features`
  (event_id, customer_id, occurred_at, feature_set_version, features, computed_at, kafka_timestamp, load_id)
SELECT event_id, 'cust_loaded', {at}, '1', PARSE_JSON('{{"amount": 10}}'), {at}, {at}, 'day' FROM ({people});
INSERT INTO `{project}.flit_bnpl_raw.outcomes`
  (event_id, customer_id, defaulted, observed_at, kafka_timestamp, load_id, load_row)
SELECT event_id, 'cust_loaded', row = 1, TIMESTAMP_ADD({at}, INTERVAL 56 + row DAY), {at}, 'day', 9 - row
FROM ({people}) CROSS JOIN UNNEST([1, 2]) AS row
"""


def test_of_what_was_loaded_the_later_outcome_counts_and_nothing_of_who_is_erased(log: BigQuerySettings) -> None:
    people = "SELECT 'loaded-1' AS event_id, 'cust_loaded' AS customer_id UNION ALL SELECT 'loaded-2', NULL"
    at = f"TIMESTAMP '{START:%Y-%m-%d %H:%M:%S}+00'"
    for statement in LOADED.format(project="{project}", at=at, people=people).split(";"):
        query(log, statement)
    found = examples(log, START + timedelta(days=60))
    assert found["loaded-1"]["defaulted"] is False
    # The features were written while he was erased.
    assert "loaded-2" not in found


def test_the_raw_json_itself_holds_no_label(log: BigQuerySettings) -> None:
    found = query(
        log,
        "SELECT COUNT(*) AS n FROM `{project}.flit_bnpl_raw.raw_bnpl_txs_json` "
        "WHERE _timestamp >= TIMESTAMP '1970-01-01 00:00:00+00' "
        "AND JSON_VALUE(json_body, '$.will_default') IS NOT NULL",
    )
    assert found == [{"n": 0}]


def test_a_weekly_plan_counts_only_once_a_good_loan_of_it_would_be_told(log: BigQuerySettings) -> None:
    """Its payments end after 28 days, and by then nothing but defaults could be known of any such plan."""
    terms = {70: "weekly", 71: "weekly", 72: "monthly"}
    records = [
        repaid(70, 70, defaulted=True, after_days=9),
        *(repaid(each, each, defaulted=False) for each in (71, 72)),
    ]
    for number, frequency in terms.items():
        plan = {"count": 4, "frequency": frequency}
        records += [bought(number, number, installments=plan), decided(number, number)]
    write(log, records)
    mine = {f"event-{number}" for number in terms}
    assert examples(log, START + timedelta(days=55)).keys() & mine == set()
    assert examples(log, START + timedelta(days=56)).keys() & mine == {"event-70", "event-71"}
    assert examples(log, START + timedelta(days=120)).keys() & mine == mine


CHANCE = Reason(code="policy_exploration", text="By chance")


def test_an_outcome_is_observed_only_where_the_purchase_came_about(log: BigQuerySettings) -> None:
    a_day, in_time = (from_epoch_micros(START_US + hours * DAY_US // 24) for hours in (24, 23))
    made: dict[int, dict[str, Any]] = {
        20: {"decision": Verdict.APPROVE}, 21: {"decision": Verdict.REVIEW}, 22: {"decision": Verdict.DECLINE},
        23: {"decision": Verdict.APPROVE}, 24: {"decision": Verdict.REVIEW}, 25: {"decision": Verdict.REVIEW},
        26: {"decision": Verdict.DECLINE, "decided_at": a_day},
        27: {"decision": Verdict.DECLINE, "decided_at": in_time},
        28: {"decision": Verdict.APPROVE, "reasons": [Reason(code="amount", text="x"), CHANCE]},
        29: {"decision": Verdict.REVIEW, "decided_at": a_day},
        30: {"decision": Verdict.APPROVE, "decided_at": a_day, "reasons": [CHANCE]},
    }  # fmt: skip
    updates = [
        updated(23, 1, UpdateKind.CANCEL), updated(24, 3, UpdateKind.VERDICT, Verdict.APPROVE),
        updated(24, 2, UpdateKind.VERDICT, Verdict.DECLINE), updated(25, 4, UpdateKind.VERDICT, Verdict.DECLINE),
        updated(29, 5, UpdateKind.CANCEL),
    ]  # fmt: skip
    records = [*updates]
    for number, changes in made.items():
        records += [bought(number, number), decided(number, number, **changes), repaid(number, number, defaulted=False)]
    write(log, records)
    found = examples(log, START + timedelta(days=56))
    assert [number for number in made if found[f"event-{number}"]["observed"]] == [20, 24, 26, 28, 30]
    assert [number for number in made if found[f"event-{number}"]["explored"]] == [28]
