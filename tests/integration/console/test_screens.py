"""Every screen on real rows, and where there are none, and where what it asks is away."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path

import httpx
import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest

from services.console import access, commands, wording
from services.console.queries import days, decisions, review
from services.console.scorer import Scorer
from shared.contracts.events import Decision, Verdict
from shared.contracts.identity import partition_of
from shared.settings import BigQuerySettings
from shared.warehouse.schema import ensure_warehouse
from tests.integration.console.world import DRIFTING, LIVE, LIVE_AUC, World, made, shared_event
from tests.unit.sink.records import PARTITIONS

pytestmark = pytest.mark.integration

SCREENS = ("live", "decision", "review", "models", "drift", "what_if", "letters", "health")
PATIENCE_S = 60
NOBODY = "http://127.0.0.1:9"
"""The discard port: nobody listens there."""


@pytest.fixture(autouse=True)
def _main_is_what_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    """AppTest leaves a script of its own in place of the main module, which processes spawned later would run."""
    monkeypatch.setitem(sys.modules, "__main__", sys.modules["__main__"])


def screen(name: str) -> AppTest:
    """The screen with its sidebar, not run yet."""

    def page(name: str) -> None:
        import importlib

        from services.console import operators

        operators.enter()
        importlib.import_module(f"services.console.screens.{name}").show()

    return AppTest.from_function(page, default_timeout=PATIENCE_S, kwargs={"name": name})


def seen(test: AppTest) -> str:
    """All that the screen says in words."""
    parts = [*test.title, *test.subheader, *test.markdown, *test.caption, *test.info, *test.warning, *test.error]
    return "\n".join(str(part.value) for part in [*parts, *test.success])


def looked_at(name: str, **session: str) -> AppTest:
    test = screen(name)
    for key, value in session.items():
        test.session_state[key] = value
    test.run()
    assert not test.exception, test.exception
    return test


@pytest.fixture(scope="module")
def world(bigquery_endpoints: BigQuerySettings, tmp_path_factory: pytest.TempPathFactory) -> World:
    settings = bigquery_endpoints.model_copy(update={"project": "flit-console-test"})
    return made(settings, tmp_path_factory.mktemp("console"))


@pytest.fixture
def console(world: World, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    with pointed_at(world.environment, monkeypatch):
        yield world


@contextmanager
def pointed_at(environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A console with these settings; nothing that an earlier one was answered is kept."""
    for name, value in {**environment, "CONSOLE__SCORER_URL": NOBODY}.items():
        monkeypatch.setenv(name, value)
    for service in ("INGESTOR", "FEATURES", "SCORER", "SINK", "SIMULATOR"):
        monkeypatch.setenv(f"CONSOLE__HEALTH__{service}", NOBODY if service == "SCORER" else "")
    forget()
    yield
    forget()


def forget() -> None:
    st.cache_resource.clear()
    st.cache_data.clear()


def test_live_shows_how_many_were_decided_and_how(console: World) -> None:
    test = looked_at("live", live_span="1 hour")
    shown = {metric.label: metric.value for metric in test.metric}
    assert shown["Decisions"] == f"{len(console.decisions):,}"
    mix = Counter(one.decision.value for one in console.decisions)
    assert shown["Approved"] == f"{mix['approve'] / len(console.decisions):.1%}"
    said = f"{mix['approve']:,} approved, {mix['review']:,} to review, {mix['decline']:,} declined"
    assert said in seen(test)
    assert float(shown["Event to decision, p95"].split()[0]) < 100


def took(one: Decision) -> timedelta:
    """From the purchase to its decision."""
    return datetime.fromisoformat(one.decided_at) - datetime.fromisoformat(one.occurred_at)


def test_of_two_purchases_under_one_event_id_the_decided_one_is_shown(console: World) -> None:
    one = shared_event(console.decisions)
    bought = datetime.fromisoformat(one.occurred_at)
    rows = access.warehouse().rows(decisions.purchases([one.event_id], bought, bought))
    amounts = {row["home"]: wording.money(row["amount"], row["currency"]) for row in rows}
    own = partition_of(one.customer_id.encode(), PARTITIONS)
    assert amounts.keys() == {0, own}
    shown = {metric.label: metric.value for metric in looked_at("decision", decision_event=one.event_id).metric}
    assert shown["Amount"] == amounts[own] != amounts[0]


def test_a_decision_is_told_with_its_reasons_its_customer_and_its_place(console: World) -> None:
    declined = console.first(Verdict.DECLINE)
    test = looked_at("decision", decision_event=declined.event_id)
    shown = {metric.label: metric.value for metric in test.metric}
    assert shown["Decision"] == "declined"
    assert shown["Probability of default"] == f"{declined.probability_of_default:.1%}"
    said = seen(test)
    assert declined.model_version in said and declined.policy_version in said
    assert declined.reasons[0].text.split()[0] in said
    assert "Contributions are not shown" in said  # the scorer is away, and that alone is missing
    assert "link in the hash chain" in said
    assert test.button(key=f"cancel_{declined.event_id}").disabled


def test_an_id_that_is_typed_goes_before_the_one_in_the_address(console: World) -> None:
    first, second = console.decisions[0].event_id, console.decisions[1].event_id
    test = screen("decision")
    test.query_params["event"] = first
    test.run()
    assert test.text_input(key="decision_event").value == first
    test.text_input(key="decision_event").set_value(second).run()
    assert test.text_input(key="decision_event").value == second
    assert test.query_params["event"] in (second, [second])


def test_a_stored_decision_is_replayed_by_the_trainers_own_command(console: World) -> None:
    test = looked_at("decision", decision_event=console.first(Verdict.APPROVE).event_id)
    test.button(key="replay").click().run()
    assert "the same bytes" in seen(test)


def test_an_event_that_was_never_decided_is_said_to_be_none(console: World) -> None:
    assert "no decision under this id" in seen(looked_at("decision", decision_event="nobody's"))


def test_the_queue_holds_reviews_without_a_verdict_the_longest_waiting_first(console: World) -> None:
    test = looked_at("review")
    rows = access.recent(review.waiting(access.days_back(30), 10_000))
    waiting = {row["event_id"] for row in rows}
    reviewed = [one for one in console.decisions if one.decision is Verdict.REVIEW]
    live = {one.event_id for one in reviewed if took(one) < timedelta(hours=23)}
    past = {one.event_id for one in reviewed if took(one) > timedelta(hours=25)}
    assert len(live - waiting) == 1 and len(live & waiting) >= LIVE - 1
    assert past and not past & waiting, "what was decided long after the fact waits for nobody"
    times = [row["prediction_timestamp"] for row in rows]
    assert times == sorted(times)
    shown = test.selectbox(key="review_pick").value
    assert test.button(key=f"verdict_approve_{shown}").disabled, "and it is that purchase's own"
    assert "Enter an operator's key" in seen(test)
    assert "anna" in str(test.table[0].value)


def test_models_stand_side_by_side_with_their_parts(console: World) -> None:
    test = looked_at("models")
    table = test.dataframe[0].value
    champion = console.registry.current()
    assert champion is not None
    assert table.set_index("")[champion]["Part"] == "champion"
    assert table.set_index("")[champion]["AUC, matured since"] == "0.571"
    assert table.set_index("")[champion]["AUC, live"] == str(LIVE_AUC)
    assert test.button(key="promote").disabled and test.button(key="rollback").disabled


def test_drift_names_what_has_drifted(console: World) -> None:
    test = looked_at("drift")
    shown = {metric.label: metric.value for metric in test.metric}
    assert shown["Drifted features"] == "1 of 3"
    assert test.selectbox(key="drift_feature").options[0] == DRIFTING


def test_drift_shows_one_comparison_at_a_time(console: World) -> None:
    test = looked_at("drift")
    comparisons = test.selectbox(key="drift_comparison")
    assert comparisons.options == [
        "On demand, against the training window", "7 days against the training window",
        "7 days against the 7 days before",
    ]  # fmt: skip
    comparisons.select_index(1).run()
    shown = {metric.label: metric.value for metric in test.metric}
    assert shown["Drifted features"] == "2 of 2"
    assert test.selectbox(key="drift_feature").options == ["tenure days", DRIFTING]


def test_a_stricter_policy_approves_fewer(console: World) -> None:
    test = looked_at("what_if")
    before = float({metric.label: metric.value for metric in test.metric}["Approved"].rstrip("%"))
    assert "Earns most" in seen(test)  # outcomes have matured
    assert "on purchases made up to" in seen(test)
    test.slider(key="approve_up_to").set_value(0.01).run()
    after = float({metric.label: metric.value for metric in test.metric}["Approved"].rstrip("%"))
    assert after < before
    test.slider(key="decline_above").set_value(0.005).run()
    assert "Declining must begin" in seen(test)


def test_busy_days_are_decided_again_in_part(console: World, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = days.drawn
    monkeypatch.setattr(days, "drawn", lambda found: whole(found, most=400))
    said = seen(looked_at("what_if"))
    assert "in part, on purchases made up to" in said and "Earns most" in said


def test_what_is_in_a_letter_is_behind_a_click(console: World) -> None:
    test = looked_at("letters")
    assert test.selectbox(key="letters_reason").options == ["syntax (2)", "range (1)"]
    assert not test.code
    test.toggle[0].set_value(True).run()
    assert test.code[0].value == "{"
    assert test.button(key="letters_replay").disabled


def test_a_key_that_was_revoked_since_replays_nothing(console: World, monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[bool] = []

    def replay(reason: str, since: datetime, limit: int, *, dry_run: bool) -> str:
        sent.append(dry_run)
        return "2 letters"

    known = [True]
    door = httpx.MockTransport(
        lambda request: (
            httpx.Response(200, json={}) if known[0] else httpx.Response(401, json={"reason": "unauthorized"})
        )
    )
    monkeypatch.setattr(access, "scorer", lambda: Scorer("http://scorer", None, door))
    monkeypatch.setattr(commands, "replay_letters", replay)
    test = looked_at("letters", operator_key="flit_admin")

    def sure() -> None:
        # Both, for here a press runs the whole page, which a dialog isn't part of that nobody has just opened.
        test.button(key="letters_replay").click()
        test.button(key="letters_sure").click().run()

    test.button(key="letters_replay").click().run()
    sure()
    assert sent == [True, True, False]

    test.button(key="letters_replay").click().run()
    known[0] = False
    sure()
    assert "doesn't know this key" in seen(test)
    assert False not in sent[3:]


def test_health_says_who_is_away_and_how_old_the_warehouse_is(console: World) -> None:
    (console.folder / "ledger.json").write_text(
        '{"balanced": true, "checked_at": "2026-06-01T00:00:00+00:00", "invariants": {}}'
    )
    said = seen(looked_at("health"))
    assert "Not ready: scorer." in said
    assert "newest decision was made" in said
    assert "balanced" in said


@pytest.mark.parametrize("name", SCREENS)
def test_an_empty_system_says_what_to_do(
    name: str, bigquery_endpoints: BigQuerySettings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    settings = bigquery_endpoints.model_copy(update={"project": "flit-console-empty"})
    ensure_warehouse(settings)
    empty = World(settings, None, tmp_path, ())  # type: ignore[arg-type]
    with pointed_at(empty.environment, monkeypatch):
        test = looked_at(name)
        assert not test.error
        assert test.info or name == "health"


@pytest.mark.parametrize("name", SCREENS)
def test_without_the_warehouse_trouble_is_told_in_words(
    name: str, console: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BIGQUERY__REST_ENDPOINT", NOBODY)
    test = looked_at(name, decision_event="an-event")
    assert any("doesn't answer" in str(error.value) for error in test.error)
