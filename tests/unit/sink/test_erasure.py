"""What is personal, whose a record is, and what is said where BigQuery doesn't let a row go yet."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any, cast

import pytest
from google.api_core.exceptions import BadRequest
from google.cloud import bigquery

from services.sink.erasure import Erasure
from services.sink.erasure_log import Held, Signs, Traces, event_of
from services.sink.erasure_rows import empty
from shared.contracts import topics
from shared.warehouse import tables
from tests.unit.sink.records import letter_bytes, record

NAME = "cust_000001-f6e48da5"
IN_BUFFER = BadRequest("UPDATE or DELETE statement would affect rows in the streaming buffer, which is not supported")


@dataclass
class FakeBigQuery:
    """Answers statements in turn: a number of rows changed, rows, or an error."""

    answers: list[int | Sequence[Any] | Exception]
    asked: list[str] = field(default_factory=list)
    project: str = "flit"

    def query(self, sql: str, **_: Any) -> Any:
        self.asked.append(sql)
        answer = self.answers.pop(0)

        def result(**_: Any) -> Any:
            if isinstance(answer, Exception):
                raise answer
            return [] if isinstance(answer, int) else answer

        return SimpleNamespace(result=result, num_dml_affected_rows=answer if isinstance(answer, int) else None)


def run(fake: FakeBigQuery) -> Any:
    return empty(cast(bigquery.Client, fake), tables.DECISIONS, [NAME])


def test_every_column_that_names_a_customer_a_device_or_a_means_of_payment_is_personal() -> None:
    wanted = {
        "customer_id",
        "transaction_id",
        "device_id",
        "payment_method_id",
        "json_body",
        "features",
        "note",
        "fingerprint",
        "record_json",
    }
    wanted |= {"key_base64", "value_base64", "headers", "detail"}
    for table in tables.STREAMED:
        for column in table.columns:
            meant = column.name in wanted or column.name.startswith("customer_")
            assert column.personal == meant, f"{table.id}.{column.name}"


def test_no_column_that_an_account_or_an_audit_needs_is_personal() -> None:
    kept = {"event_id", "decision", "amount", "currency", "expected_loss", "kafka_topic", "kafka_offset", "reasons"}
    kept |= {"record_sha256", "chain_sha256"}
    for table in tables.ALL:
        assert not kept & {column.name for column in table.personal}, table.id


@pytest.mark.parametrize(
    ("key", "value", "is_his"),
    [
        (NAME, b"", True),
        (None, json.dumps({"customer_id": NAME}).encode(), True),
        ("cust_000001", b'{"customer_id": "cust_000001-f6e48da55"}', False),
        (None, b'{"note": "cust_000001-f6e48da5 called"}', False),
        (None, None, False),
    ],
)
def test_a_record_is_somebodys_by_its_key_or_by_his_whole_id(
    key: str | None, value: bytes | None, is_his: bool
) -> None:
    assert Signs([NAME]).on(None if key is None else key.encode(), value) == is_his


def test_an_id_beyond_ascii_is_found_escaped_and_plain() -> None:
    signs = Signs(["käthe"])
    assert signs.on(None, json.dumps({"customer_id": "käthe"}).encode())
    assert signs.on(None, json.dumps({"customer_id": "käthe"}, ensure_ascii=False).encode())


def test_a_letter_is_his_whose_bytes_it_holds() -> None:
    refused = json.dumps({"customer_id": NAME}).encode()
    his = record(topics.DEAD_LETTERS, letter_bytes(1, refused), key="other")
    others = record(topics.DEAD_LETTERS, letter_bytes(1, b"{"), key="other")
    assert Signs([NAME]).on_record(his)
    assert not Signs([NAME]).on_record(others)
    assert base64.b64encode(refused) in letter_bytes(1, refused)


def test_the_traces_of_a_topic_end_with_its_retention() -> None:
    found = Traces()
    for offset, moment in ((3, 1_000), (4, 2_000)):
        found.add(record(topics.FEATURES, b'{"event_id": "e"}', offset=offset, timestamp=moment, partition=1))
    assert found.held[topics.FEATURES.name] == Held(2, 2_000, {1: 4})
    assert found.events == {"e"}
    until = found.held[topics.FEATURES.name].until(topics.FEATURES)
    assert until == datetime(1970, 1, 31, 0, 0, 2, tzinfo=UTC)


@pytest.mark.parametrize(
    "value", [None, b"", b"{", b"[]", b"7", b'{"event_id": 7}', b"\xff", b"[" * 99_999, b'{"event_id": "\\ud800"}']
)
def test_what_states_no_event_gives_none(value: bytes | None) -> None:
    assert event_of(value) is None


def test_all_personal_columns_of_a_row_are_emptied_in_one_statement() -> None:
    fake = FakeBigQuery([2])
    assert run(fake).rows == 2
    (sql,) = fake.asked
    assert "SET transaction_id = NULL, customer_id = NULL, features = PARSE_JSON('{}'), record_json = NULL WHERE" in sql
    assert NAME not in sql


def test_where_rows_lie_in_the_streaming_buffer_the_older_ones_are_emptied_and_the_others_named() -> None:
    fake = FakeBigQuery([IN_BUFFER, 5, [SimpleNamespace(kafka_partition=1, kafka_offset=7)]])
    emptied = run(fake)
    assert (emptied.rows, emptied.left) == (5, ("1-7",))
    assert "INTERVAL 95 MINUTE" in fake.asked[1]


def test_old_records_that_were_written_lately_are_named_as_well() -> None:
    fake = FakeBigQuery([IN_BUFFER, IN_BUFFER, [SimpleNamespace(kafka_partition=1, kafka_offset=7)]])
    assert (run(fake).rows, fake.answers) == (0, [])


def test_another_refusal_of_bigquery_is_not_taken_for_the_buffer() -> None:
    with pytest.raises(BadRequest, match="syntax"):
        run(FakeBigQuery([BadRequest("syntax error")]))


def test_an_erasure_says_what_is_left_where_and_until_when() -> None:
    done = Erasure("1", datetime(2026, 6, 1, tzinfo=UTC), topics={"a": 2, "b": 1})
    done.topics_until = {"a": datetime(2026, 7, 1, tzinfo=UTC), "b": None}
    assert done.complete
    assert "topic a: still holds 2 record(s), the last of them until its retention ends on 2026-07-01 00:00 UTC" in (
        done.lines()
    )
    assert "topic b: still holds 1 record(s), for ever: the topic has no retention" in done.lines()


def test_an_erasure_with_something_left_is_not_complete() -> None:
    left = Erasure("1", datetime(2026, 6, 1, tzinfo=UTC), pending={"t": "written lately"})
    assert not left.complete
    assert left.lines()[0].endswith("NOT FINISHED, run it again")
    assert "left: t: written lately" in left.lines()
