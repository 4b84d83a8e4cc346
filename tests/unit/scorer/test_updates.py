from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from services.scorer.idempotency import KeyGuard
from services.scorer.keys import Access, Scope, new_key
from services.scorer.library import PolicyLibrary
from services.scorer.policies import PolicySlot
from services.scorer.updates import Updates
from shared.contracts.events import DecisionUpdate, UpdateKind, Verdict
from shared.contracts.records import decode_decision_update
from shared.contracts.topics import DECISION_UPDATES
from shared.exposure import Standing
from shared.model_artifact.registry import ModelRegistry
from shared.policy import load_policy
from tests.unit.scorer.fakes import FakeClaims, FakeSender, Outside, clock
from tests.unit.scorer.parts import NOW, accepted, body_of
from tests.unit.scorer.rest import JSON, URL, assert_problem, client_of

EVENT = accepted().transaction.event_id


def updates_of(outside: Outside, folder: Path) -> Updates:
    return Updates(
        outside.checkout(),
        KeyGuard(outside.keys),
        outside.sender,
        outside.exposures,
        PolicyLibrary(ModelRegistry(str(folder)), PolicySlot(load_policy())),
        partitions=4,
        publish_timeout_s=0.1,
        clock=clock,
    )


@pytest.fixture
async def client(outside: Outside, tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    async with client_of(outside.checkout(), updates=updates_of(outside, tmp_path)) as found:
        assert (await found.post(URL, content=body_of(), headers=JSON)).status_code == 200
        yield found


async def say(
    client: httpx.AsyncClient, what: str, body: Any = None, event_id: str = EVENT, **headers: str
) -> httpx.Response:
    return await client.post(f"{URL}/{event_id}/{what}", json=body, headers=headers)


def published(outside: Outside) -> list[DecisionUpdate]:
    return [decode_decision_update(value) for value in outside.sender.on(DECISION_UPDATES.name)]


async def test_a_cancellation_is_on_the_topic_before_it_is_answered(
    client: httpx.AsyncClient, outside: Outside
) -> None:
    answer = await say(client, "cancel")
    assert answer.status_code == 202
    assert outside.sender.on(DECISION_UPDATES.name) == [answer.content]
    (update,) = published(outside)
    assert update == DecisionUpdate(
        update_id=update.update_id,
        event_id=EVENT,
        customer_id="cust_000001",
        kind=UpdateKind.CANCEL,
        verdict=None,
        actor="local",
        note=None,
        updated_at=NOW,
    )
    record = outside.sender.sent[-1]
    assert record.key == b"cust_000001"
    assert dict(record.headers)["ce_id"] == update.update_id.encode()


async def test_a_verdict_names_the_reviewer(client: httpx.AsyncClient, outside: Outside) -> None:
    body = {"verdict": "decline", "actor": "anna@flit", "note": "third card today"}
    assert (await say(client, "verdict", body)).status_code == 202
    (update,) = published(outside)
    assert (update.kind, update.verdict, update.actor, update.note) == (
        UpdateKind.VERDICT,
        Verdict.DECLINE,
        "anna@flit",
        "third card today",
    )


async def test_a_verdict_is_answered_with_the_notice_that_follows_from_it(
    client: httpx.AsyncClient, outside: Outside
) -> None:
    declined = (await say(client, "verdict", {"verdict": "decline"})).json()
    notice = declined.pop("adverse_action")
    assert (notice["event_id"], notice["automated"], notice["decided_at"]) == (EVENT, False, NOW)
    assert notice["rights"]
    assert (await say(client, "verdict", {"verdict": "approve"})).json()["adverse_action"] is None
    (first, _) = outside.sender.on(DECISION_UPDATES.name)
    assert msgspec.json.decode(first) == declined, "the topic has the update alone"


@pytest.mark.parametrize(
    ("what", "body", "reason", "field"),
    [
        ("verdict", {}, "missing", "verdict"),
        ("verdict", {"verdict": "review"}, "enum", "verdict"),
        ("verdict", {"verdict": 1}, "enum", "verdict"),
        ("verdict", {"verdict": ["approve"]}, "enum", "verdict"),
        ("verdict", {"verdict": "approve", "score": 1}, "shape", "score"),
        ("verdict", {"verdict": "approve", "actor": ""}, "length", "actor"),
        ("verdict", {"verdict": "approve", "actor": 7}, "type", "actor"),
        ("verdict", {"verdict": "approve", "note": 7}, "type", "note"),
        ("cancel", {"note": "x" * 1001}, "length", "note"),
        ("cancel", {"verdict": "approve"}, "shape", "verdict"),
        ("cancel", [], "shape", ""),
    ],
)
async def test_what_is_no_update_is_refused_and_nothing_is_published(
    client: httpx.AsyncClient, outside: Outside, what: str, body: Any, reason: str, field: str
) -> None:
    problem = assert_problem(await say(client, what, body), 422, reason)
    assert problem["field"] == field
    assert not published(outside)


async def test_an_event_without_a_decision_has_nothing_to_be_said_about(client: httpx.AsyncClient) -> None:
    assert_problem(await say(client, "cancel", event_id="unknown"), 404, "not-found")
    assert_problem(await say(client, "verdict", {"verdict": "approve"}, event_id="unknown"), 404, "not-found")


async def test_with_a_key_a_repeated_update_is_the_same_one(client: httpx.AsyncClient, outside: Outside) -> None:
    key = {"Idempotency-Key": "once"}
    first, second = [await say(client, "cancel", **key) for _ in range(2)]
    assert (first.status_code, first.content) == (202, second.content)
    assert len(published(outside)) == 1
    answer = await say(client, "cancel", {"note": "another"}, **{"Idempotency-Key": "once"})
    assert_problem(answer, 422, "conflict")


@pytest.mark.parametrize("what", ["cancel", "verdict"])
async def test_a_key_that_was_used_for_another_event_is_refused(
    client: httpx.AsyncClient, outside: Outside, what: str
) -> None:
    other = accepted(2).transaction.event_id
    assert (await client.post(URL, content=body_of(2), headers=JSON)).status_code == 200
    body = {"verdict": "decline"} if what == "verdict" else None
    key = {"Idempotency-Key": "job-17"}
    assert (await say(client, what, body, **key)).status_code == 202
    assert_problem(await say(client, what, body, event_id=other, **key), 422, "conflict")
    assert [update.event_id for update in published(outside)] == [EVENT]


async def test_what_is_recorded_binds_its_key_and_stays_one_update_until_the_account_follows(
    client: httpx.AsyncClient, outside: Outside
) -> None:
    first = {"If-None-Match": "*"}
    outside.exposures.away = True
    assert_problem(await say(client, "verdict", {"verdict": "decline"}, **first), 503, "state-unavailable")
    outside.keys.lapse()
    assert_problem(await say(client, "verdict", {"verdict": "approve"}, **first), 422, "conflict")
    assert_problem(await say(client, "verdict", {"verdict": "decline"}, **first), 503, "state-unavailable")
    outside.exposures.away = False
    settled = await say(client, "verdict", {"verdict": "decline"}, **first)
    assert settled.status_code == 202
    *_, last = sent = outside.sender.on(DECISION_UPDATES.name)
    assert last == msgspec.json.encode({k: v for k, v in settled.json().items() if k != "adverse_action"})
    assert len({update.update_id for update in published(outside)}) == 1
    (account,) = outside.exposures.accounts.values()
    assert [standing for standing, _ in account.values()] == [Standing.RELEASED]
    assert (await say(client, "verdict", {"verdict": "decline"}, **first)).content == settled.content
    assert outside.sender.on(DECISION_UPDATES.name) == sent, "what was answered isn't recorded again"


async def test_the_account_follows_the_topics_last_word(client: httpx.AsyncClient, outside: Outside) -> None:
    mine = {"Idempotency-Key": "anna-1"}
    outside.exposures.away = True
    assert_problem(await say(client, "verdict", {"verdict": "approve"}, **mine), 503, "state-unavailable")
    outside.exposures.away = False
    assert (await say(client, "verdict", {"verdict": "decline"})).status_code == 202
    assert (await say(client, "verdict", {"verdict": "approve"}, **mine)).status_code == 202
    said = [update.verdict for update in published(outside)]
    assert said == [Verdict.APPROVE, Verdict.DECLINE, Verdict.APPROVE]
    (account,) = outside.exposures.accounts.values()
    assert [standing for standing, _ in account.values()] == [Standing.COUNTS]


async def test_of_two_reviewers_the_first_is_heard_where_they_ask_for_that(tmp_path: Path) -> None:
    outside = Outside()
    keys = {owner: new_key(owner, [Scope.DECIDE, Scope.REVIEW]) for owner in ("anna", "ben")}
    path = tmp_path / "keys"
    path.write_text("".join(f"{line}\n" for _, line in keys.values()))
    async with client_of(outside.checkout(), Access.load(path), updates=updates_of(outside, tmp_path)) as client:
        said = {owner: {"Authorization": f"Bearer {key}"} for owner, (key, _) in keys.items()}
        assert (await client.post(URL, content=body_of(), headers=JSON | said["anna"])).status_code == 200
        first = {"If-None-Match": "*"}
        for _ in range(2):
            answer = await say(client, "verdict", {"verdict": "approve"}, **said["anna"], **first)
            assert answer.status_code == 202
        others = await say(client, "verdict", {"verdict": "decline"}, **said["ben"], **first)
        assert_problem(others, 422, "conflict")
        assert [(update.verdict, update.actor) for update in published(outside)] == [(Verdict.APPROVE, "anna")]
        corrected = await say(client, "verdict", {"verdict": "decline"}, **said["ben"])
        assert corrected.status_code == 202, "who doesn't ask for that corrects it"


async def test_what_is_sent_again_does_not_follow_what_was_said_since(
    client: httpx.AsyncClient, outside: Outside
) -> None:
    first = {"Idempotency-Key": "anna-1"}
    told = await say(client, "verdict", {"verdict": "approve"}, **first)
    assert (await say(client, "verdict", {"verdict": "decline"}, **{"Idempotency-Key": "ben-1"})).status_code == 202
    again = await say(client, "verdict", {"verdict": "approve"}, **first)
    assert (again.status_code, again.content) == (202, told.content)
    assert [update.verdict for update in published(outside)] == [Verdict.APPROVE, Verdict.DECLINE]


async def test_a_word_that_was_not_recorded_binds_nobody_for_long(client: httpx.AsyncClient, outside: Outside) -> None:
    first = {"If-None-Match": "*"}
    outside.sender.refused_topics.add(DECISION_UPDATES.name)
    failed = await say(client, "verdict", {"verdict": "approve"}, **first)
    assert_problem(failed, 503, "kafka-unavailable")
    outside.sender.refused_topics.clear()
    at_once = await say(client, "verdict", {"verdict": "approve"}, **first)
    assert_problem(at_once, 409, "in-flight")  # it may be on its way still
    outside.keys.lapse()
    assert (await say(client, "verdict", {"verdict": "decline"}, **first)).status_code == 202
    assert [update.verdict for update in published(outside)] == [Verdict.DECLINE]


async def test_no_verdict_brings_back_what_was_called_off(client: httpx.AsyncClient, outside: Outside) -> None:
    assert (await say(client, "cancel")).status_code == 202
    assert (await say(client, "verdict", {"verdict": "approve"})).status_code == 202
    (account,) = outside.exposures.accounts.values()
    assert [standing for standing, _ in account.values()] == [Standing.CANCELLED]


async def test_what_is_said_of_a_decision_on_its_way_is_to_be_said_again(
    client: httpx.AsyncClient, outside: Outside
) -> None:
    """It would be forgotten, and the purchase would count."""
    for event_id, claim in list(outside.claims.held.items()):
        outside.claims.held[event_id] = replace(claim, published=False)
    answer = await say(client, "cancel")
    assert_problem(answer, 503, "pending")
    assert answer.headers["retry-after"] == "1"


async def test_who_asks_to_be_heard_only_as_the_first_is_told_where_that_is_not_known(
    client: httpx.AsyncClient, outside: Outside
) -> None:
    outside.keys.away = True
    first = await say(client, "verdict", {"verdict": "approve"}, **{"If-None-Match": "*"})
    assert_problem(first, 503, "state-unavailable")
    assert not published(outside)
    assert (await say(client, "verdict", {"verdict": "approve"}, **{"Idempotency-Key": "one"})).status_code == 202


async def test_without_a_key_each_is_an_update_of_its_own(client: httpx.AsyncClient, outside: Outside) -> None:
    for verdict in ("approve", "decline", "approve"):
        assert (await say(client, "verdict", {"verdict": verdict})).status_code == 202
    assert len({update.update_id for update in published(outside)}) == 3


async def test_who_did_not_ask_for_the_decision_cannot_call_the_purchase_off(tmp_path: Path) -> None:
    outside = Outside()
    scopes = {"a": [Scope.DECIDE, Scope.READ], "b": [Scope.DECIDE, Scope.READ], "c": [Scope.DECIDE, Scope.REVIEW]}
    keys = {owner: new_key(owner, of) for owner, of in scopes.items()}
    path = tmp_path / "keys"
    path.write_text("".join(f"{line}\n" for _, line in keys.values()))
    async with client_of(outside.checkout(), Access.load(path), updates=updates_of(outside, tmp_path)) as client:
        said = {owner: {"Authorization": f"Bearer {key}"} for owner, (key, _) in keys.items()}
        assert (await client.post(URL, content=body_of(), headers=JSON | said["a"])).status_code == 200
        assert_problem(await say(client, "cancel", **said["b"]), 404, "not-found")
        assert (await say(client, "cancel", **said["a"])).status_code == 202
        assert (await say(client, "cancel", **said["c"])).status_code == 202, "whoever reviews acts for all"


async def test_without_kafka_nothing_is_taken(tmp_path: Path) -> None:
    outside = Outside()
    async with client_of(outside.checkout(), updates=updates_of(outside, tmp_path)) as client:
        await client.post(URL, content=body_of(), headers=JSON)
        outside.sender.refused_topics = {DECISION_UPDATES.name}
        assert_problem(await say(client, "cancel"), 503, "kafka-unavailable")


async def test_without_redis_nothing_is_taken(tmp_path: Path) -> None:
    outside = Outside(claims=FakeClaims(away=True), sender=FakeSender())
    async with client_of(outside.checkout(), updates=updates_of(outside, tmp_path)) as client:
        assert_problem(await say(client, "cancel"), 503, "state-unavailable")


def test_an_update_reads_back() -> None:
    update = DecisionUpdate(
        update_id="1", event_id="2", customer_id="3", kind=UpdateKind.CANCEL, verdict=None, actor="4", note=None,
        updated_at=NOW,
    )  # fmt: skip
    assert decode_decision_update(msgspec.json.encode(update)) == update
