"""Pages where a part of what they are told is missing or has changed; tests/integration/console has real rows."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest

from services.console import access, registered
from services.console.queries.query import Query, Row
from services.console.scorer import Scorer
from services.console.screens import live as live_screen
from services.console.screens import navigation
from services.console.screens import review as review_screen
from services.console.warehouse import WarehouseAway
from shared.model_artifact.registry import ModelRegistry
from tests.unit.model_artifact.artifacts import a_manifest, some_files

NOON = datetime.now(UTC).replace(hour=12, minute=0, second=0, microsecond=0) - timedelta(days=40)
EVENT = "event_1"
DECIDED: Row = {
    "event_id": EVENT, "customer_id": "ada", "occurred_at": NOON, "prediction_timestamp": NOON, "decision": "review",
    "probability_of_default": 0.1, "expected_loss": 5.0, "reasons": [], "degraded": None, "channel": "stream",
    "model_version": "m", "policy_version": "p", "variant": "champion", "kafka_timestamp": NOON, "features": {"x": 1.0},
    "record_sha256": "r", "chain_sha256": "c", "kafka_topic": "risk-decisions", "kafka_partition": 0, "kafka_offset": 7,
}  # fmt: skip
PURCHASE: Row = {"event_id": EVENT, "home": 0, "amount": 59.9, "currency": "EUR", "kafka_timestamp": NOON}


class Warehouse:
    """Answers by what a question asks for. `away`: what it fails at; `said`: of the decision."""

    def __init__(self) -> None:
        self.asked: list[Query] = []
        self.away: tuple[str, ...] = ()
        self.said: list[Row] = []

    def rows(self, query: Query) -> list[Row]:
        self.asked.append(query)
        if any(part in query.sql for part in self.away):
            raise WarehouseAway("it doesn't answer")
        if "chain_sha256" in query.sql:
            values = dict(query.values)
            return [DECIDED] if values["since"] <= NOON < values["until"] else []  # type: ignore[operator]
        if "MIN(prediction_timestamp)" in query.sql:
            return [{"moment": NOON if dict(query.values)["since"] <= NOON else None}]  # type: ignore[operator]
        if "installments_count, product_category" in query.sql:
            return [PURCHASE]
        if "update_id, kind" in query.sql:
            return self.said
        if "AS moment" in query.sql:
            return [{"moment": None}]
        if "AS waiting" in query.sql:
            return [{"waiting": 1}]
        if "LEFT JOIN" in query.sql:
            return [DECIDED]
        return []


class Door:
    """The scorer's; `decided_at`: of the decision that it knows."""

    def __init__(self) -> None:
        self.sent: list[httpx.Request] = []
        self.decided_at: str | None = None

    def __call__(self, request: httpx.Request) -> httpx.Response:
        if request.method == "POST":
            self.sent.append(request)
            return httpx.Response(202, json={"verdict": "approve", "actor": "anna"})
        if request.url.path == f"/v1/decisions/{EVENT}" and self.decided_at is not None:
            return httpx.Response(200, json={"decided_at": self.decided_at})
        if request.url.path == "/v1/models":
            return httpx.Response(200, json={})
        return httpx.Response(404, json={"reason": "not-found", "status": 404})


@pytest.fixture
def rows(monkeypatch: pytest.MonkeyPatch) -> Iterator[Warehouse]:
    monkeypatch.setitem(sys.modules, "__main__", sys.modules["__main__"])  # AppTest leaves one of its own
    found = Warehouse()
    monkeypatch.setattr(access, "warehouse", lambda: found)
    st.cache_data.clear()
    yield found
    st.cache_data.clear()


@pytest.fixture
def door(monkeypatch: pytest.MonkeyPatch) -> Door:
    found = Door()
    monkeypatch.setattr(access, "scorer", lambda: Scorer("http://scorer", None, httpx.MockTransport(found)))
    return found


def looked_at(name: str, **session: Any) -> AppTest:
    def page(name: str) -> None:
        import importlib

        importlib.import_module(f"services.console.screens.{name}").show()

    test = AppTest.from_function(page, default_timeout=60, kwargs={"name": name})
    for key, value in session.items():
        test.session_state[key] = value
    test.run()
    assert not test.exception, test.exception
    return test


def seen(test: AppTest) -> str:
    parts = [*test.subheader, *test.markdown, *test.caption, *test.info, *test.warning, *test.error, *test.success]
    return "\n".join(str(part.value) for part in parts)


@pytest.mark.parametrize("missing", ["@customer", "product_category", "update_id, kind"])
def test_what_one_part_of_a_decision_misses_leaves_the_others(rows: Warehouse, door: Door, missing: str) -> None:
    rows.away = (missing,)
    test = looked_at("decision", decision_event=EVENT, operator_key="k")
    assert [str(error.value) for error in test.error] == ["it doesn't answer"]
    assert {metric.label: metric.value for metric in test.metric}["Decision"] == "to review"
    assert "hash chain" in seen(test)
    assert not test.button(key=f"cancel_{EVENT}").disabled


def wide(rows: Warehouse) -> list[float]:
    """Days that each question for the decision itself reads."""
    found = [dict(query.values) for query in rows.asked if "chain_sha256" in query.sql]
    return [(one["until"] - one["since"]) / timedelta(days=1) for one in found]  # type: ignore[operator]


def searched(rows: Warehouse) -> int:
    """How often it was looked for when the decision was made, which reads two columns of all days."""
    return sum("MIN(prediction_timestamp)" in query.sql for query in rows.asked)


def test_a_decision_that_the_scorer_knows_is_looked_for_on_its_day_alone(rows: Warehouse, door: Door) -> None:
    door.decided_at = NOON.isoformat().replace("+00:00", "Z")
    assert "hash chain" in seen(looked_at("decision", decision_event=EVENT))
    assert wide(rows) == [1.0]
    door.decided_at = (NOON + timedelta(days=1)).isoformat()
    st.cache_data.clear()
    rows.asked.clear()
    assert "no decision under this id" in seen(looked_at("decision", decision_event=EVENT))
    assert wide(rows) == [1.0], "no other day has it"


@pytest.mark.parametrize("decided_at", [None, "yesterday"])
def test_one_that_it_does_not_know_is_searched_for(rows: Warehouse, door: Door, decided_at: str | None) -> None:
    door.decided_at = decided_at
    assert "hash chain" in seen(looked_at("decision", decision_event=EVENT))
    assert (searched(rows), wide(rows)) == (2, [1.0]), "of the last days, then of all; its row on its day alone"


def test_one_that_was_never_decided_is_said_to_be_unknown(
    rows: Warehouse, door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(globals(), "NOON", datetime(2000, 1, 1, tzinfo=UTC))
    assert "no decision under this id" in seen(looked_at("decision", decision_event=EVENT))
    assert (searched(rows), wide(rows)) == (2, [])


def test_calling_off_asks_first_and_a_note_stays_with_its_purchase(rows: Warehouse, door: Door) -> None:
    test = looked_at("decision", decision_event=EVENT, operator_key="k")
    test.text_input(key=f"cancel_note_{EVENT}").set_value("of this one").run()
    test.button(key=f"cancel_{EVENT}").click().run()
    assert door.sent == []
    asked = next(str(one.value) for one in test.markdown if "customer's limit" in str(one.value))
    assert "event\\_1" in asked and "59\\.90 EUR" in asked
    # Both, for here a press runs the whole page, which a dialog isn't part of that nobody has just opened.
    test.button(key=f"cancel_{EVENT}").click()
    test.button(key="cancel_sure").click().run()
    [sent] = door.sent
    assert (sent.url.path, sent.content) == (f"/v1/decisions/{EVENT}/cancel", b'{"note":"of this one"}')
    assert "Recorded" in seen(test)


def said(kind: str) -> Row:
    verdict = "approve" if kind == "verdict" else None
    return {"update_id": "u", "kind": kind, "verdict": verdict, "actor": "b", "note": None, "updated_at": NOON}


@pytest.mark.parametrize(
    ("before", "told"),
    [
        ([said("cancel")], review_screen.CALLED_OFF),
        ([said("verdict"), said("cancel")], review_screen.CALLED_OFF),
        ([said("verdict")], review_screen.GIVEN_ALREADY),
        ([said("of a later release")], review_screen.GIVEN_ALREADY),
        ([], None),
    ],
)
def test_no_verdict_follows_what_was_said_before(
    rows: Warehouse, door: Door, before: list[Row], told: str | None
) -> None:
    test = looked_at("review", operator_key="k")
    rows.said = before
    test.button(key=f"verdict_approve_{EVENT}").click().run()
    assert len(door.sent) == (told is None)
    assert (told or "as anna: recorded.") in seen(test)
    test.run()
    assert ("recorded." in seen(test)) == (told is None), "it stays until the next one"


def test_a_rollback_brings_back_the_model_that_was_agreed_to(
    rows: Warehouse, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    registry = ModelRegistry(str(tmp_path))
    first, second, third = (registry.register(a_manifest(), some_files(graph)) for graph in (b"1", b"2", b"3"))
    for version in (first, second):
        registry.promote(version, "test")
    sent: list[httpx.Request] = []

    def door(request: httpx.Request) -> httpx.Response:
        if request.method == "POST":
            sent.append(request)
        return httpx.Response(200, json={"current": {"version": first}})

    monkeypatch.setattr(access, "scorer", lambda: Scorer("http://scorer", None, httpx.MockTransport(door)))
    monkeypatch.setattr(access, "registry", lambda: registry)
    drawn, parts_of = registered.parts_of(registry), registered.parts_of
    registry.promote(third, "somebody")
    registry.rollback("somebody")  # the same one is in service, and behind it is another
    shown = [drawn] * 3  # of the three runs below; whoever asks beyond that is told what is so now
    monkeypatch.setattr(registered, "parts_of", lambda one: shown.pop() if shown else parts_of(one))
    test = looked_at("models", operator_key="k")
    test.button(key="rollback").click().run()
    test.button(key="rollback").click()
    test.button(key="rollback_sure").click().run()
    assert sent == [] and "no longer the one before" in seen(test)
    test.button(key="rollback").click().run()
    test.button(key="rollback").click()
    test.button(key="rollback_sure").click().run()
    assert len(sent) == 1 and f"{first} is in service again" in seen(test)


def test_of_two_purchases_under_one_event_id_the_decided_one_is_shown(
    rows: Warehouse, door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    others: list[Row] = [{**PURCHASE, "home": home, "amount": 1.0} for home in (3, -1)]
    assert access.purchases_of([DECIDED], lambda _: [others[0], PURCHASE, others[1]]) == {EVENT: PURCHASE}
    assert access.purchases_of([DECIDED], lambda _: others) == {}
    monkeypatch.setitem(globals(), "PURCHASE", others[0])
    shown = {metric.label: metric.value for metric in looked_at("decision", decision_event=EVENT).metric}
    assert shown["Amount"] == "–"


def test_the_queue_says_what_it_leaves_out(rows: Warehouse, door: Door) -> None:
    assert review_screen.NOT_LISTED in seen(looked_at("review"))
    assert "24 hours" in review_screen.NOT_LISTED and "replayed history" in review_screen.NOT_LISTED


def test_text_of_servers_is_no_markdown(rows: Warehouse, monkeypatch: pytest.MonkeyPatch) -> None:
    refusal = httpx.MockTransport(lambda _: httpx.Response(409, json={"reason": "x", "detail": "[here](http://evil)"}))
    monkeypatch.setattr(access, "scorer", lambda: Scorer("http://scorer", None, refusal))
    told = seen(looked_at("decision", decision_event=EVENT))
    assert "\\[here\\]" in told and "[here](" not in told


def test_a_page_that_was_left_open_stops_asking(rows: Warehouse, door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    spans: list[float | None] = []
    fragment = st.fragment

    def told(function: Any, *, run_every: float | None = None) -> Any:
        spans.append(run_every)
        return fragment(function)

    late = live_screen.WATCHED_S + 1.0
    clock = [0.0, 0.0]
    monkeypatch.setattr(st, "fragment", told)
    monkeypatch.setattr(live_screen, "time", SimpleNamespace(monotonic=lambda: clock.pop(0) if clock else late))
    test = looked_at("live")
    assert spans == [5] and "Not drawn anew" not in seen(test)
    clock[:] = [0.0]  # and then the fragment's timer, much later
    test.run()
    assert spans == [5, 5, None] and "Not drawn anew" in seen(test)
    test.button(key="live_go_on").click().run()
    assert spans[-1] == 5 and "Not drawn anew" not in seen(test)


def test_a_chosen_decision_stays_chosen_when_newer_ones_have_pushed_it_out(
    rows: Warehouse, door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed: list[list[Row]] = [[{**DECIDED, "event_id": f"{turn}-{number}"} for number in range(3)] for turn in "ab"]
    turn, others = [0], rows.rows

    def answered(query: Query) -> list[Row]:
        return listed[turn[0]] if "QUALIFY" in query.sql and "LIMIT 100" in query.sql else others(query)

    monkeypatch.setattr(rows, "rows", answered)
    opened: list[str] = []
    monkeypatch.setattr(navigation, "open_decision", opened.append)
    test = looked_at("live")
    test.selectbox(key="live_pick").set_value("a-2").run()
    turn[0] = 1
    st.cache_data.clear()
    test.button(key="live_open").click().run()
    assert opened == ["a-2"]


def test_an_open_page_asks_once_in_its_turn_whoever_looks(rows: Warehouse, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1_000_000.0
    monkeypatch.setattr(access, "time", SimpleNamespace(time=lambda: now))
    question = Query("SELECT 1")
    for _ in range(3):
        access.once_in(20)(question)
    assert len(rows.asked) == 1
    now += 20
    access.once_in(20)(question)
    assert len(rows.asked) == 2
