"""One event, two doors, one decision: on a real broker and a real Valkey, with the scorer as a process."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter

import httpx
import msgspec
import pytest

from deploy.local.services import status_of
from services.scorer.claims import Claim
from shared.contracts.events import FeatureVector, encode
from shared.contracts.topics import DEAD_LETTERS, DECISIONS, FEATURES, TRANSACTIONS
from shared.kafka.producer import OutgoingRecord
from shared.model_artifact.registry import ModelRegistry
from shared.policy import DEFAULT_POLICY, load_policy
from tests.integration.scorer.conftest import Rig, Scorer, until
from tests.unit.scorer.fakes import Outside
from tests.unit.scorer.parts import a_vector, accepted, body_of, register

pytestmark = pytest.mark.integration

JSON = {"Content-Type": "application/json"}


def promoted(registry: ModelRegistry, intercept: float = -2.0) -> str:
    version = register(registry, intercept=intercept)
    registry.promote(version, "test")
    return version


async def ask(http: httpx.AsyncClient, scorer: Scorer, number: int, customer: str) -> bytes:
    answer = await http.post(f"{scorer.url}/v1/decisions", content=body_of(number, customer_id=customer), headers=JSON)
    assert answer.status_code == 200, answer.text
    return answer.content


async def marked(rig: Rig, event_id: str) -> bool:
    return await rig.redis.getrange(f"d:{event_id}", 0, 0) == b"p"


def vector_of(number: int, customer: str) -> FeatureVector:
    return a_vector(number, customer_id=customer)


async def test_rest_first_then_the_topic(rig: Rig, http: httpx.AsyncClient, unique: str) -> None:
    promoted(rig.registry)
    vector = vector_of(1, unique)
    async with rig.scorer() as scorer:
        answer = await ask(http, scorer, 1, unique)
        assert await rig.decisions(vector.event_id) == [answer]
        await rig.send_vectors(vector)
        # A later event of the same customer, so of the same partition: once it is decided, the first was passed.
        await rig.send_vectors(after := vector_of(2, unique))
        await rig.decided(after.event_id)
        assert set(await rig.decisions(vector.event_id)) == {answer}
        assert await ask(http, scorer, 1, unique) == answer
        found = await http.get(f"{scorer.url}/v1/decisions/{vector.event_id}")
        assert found.content == answer
        decision = msgspec.json.decode(answer)
        assert (decision["channel"], decision["degraded"]) == ("rest", None)
    purchases = [r for r in await rig.records(TRANSACTIONS.name) if r.key == unique.encode()]
    assert [record.value for record in purchases] == [encode(accepted(1, customer_id=unique).transaction)]


async def test_the_topic_first_then_rest(rig: Rig, http: httpx.AsyncClient, unique: str) -> None:
    promoted(rig.registry)
    vector = vector_of(1, unique)
    async with rig.scorer() as scorer:
        await rig.send_vectors(vector)
        decision = await rig.decided(vector.event_id)
        assert await ask(http, scorer, 1, unique) == decision
        assert await rig.decisions(vector.event_id) == [decision]
        assert msgspec.json.decode(decision)["channel"] == "stream"


@pytest.mark.parametrize("races", [100, pytest.param(1000, marks=pytest.mark.slow)])
async def test_both_doors_at_once(rig: Rig, http: httpx.AsyncClient, unique: str, races: int) -> None:
    promoted(rig.registry)
    customers = [f"{unique}-{i}" for i in range(races)]
    vectors = [vector_of(i, customer) for i, customer in enumerate(customers)]
    async with rig.scorer() as scorer:

        async def race(i: int) -> set[bytes]:
            twice, _ = await asyncio.gather(
                asyncio.gather(ask(http, scorer, i, customers[i]), ask(http, scorer, i, customers[i])),
                rig.send_vectors(vectors[i]),
            )
            return set(twice)

        answers = []
        for start in range(0, races, 10):
            answers += await asyncio.gather(*(race(i) for i in range(start, start + 10)))

        async def all_marked() -> bool:
            return all([await marked(rig, vector.event_id) for vector in vectors])

        await until(all_marked)
    on_topic: dict[bytes, set[bytes]] = {}
    for record in await rig.records(DECISIONS.name):
        on_topic.setdefault(dict(record.headers)["ce_id"], set()).add(record.value)
    for vector, answer in zip(vectors, answers, strict=True):
        assert len(answer) == 1
        assert on_topic[vector.event_id.encode()] == answer


async def test_a_claim_left_by_a_crash_is_produced_unchanged(rig: Rig, unique: str) -> None:
    """A process killed between claim and produce leaves exactly this behind: a claim that isn't marked."""
    promoted(rig.registry)
    vector = vector_of(1, unique)
    [left] = Outside().decider().decide([vector], "rest")
    claim = Claim(vector.event_id, accepted(1, customer_id=unique).fingerprint, encode(left))
    await rig.redis.set(f"d:{vector.event_id}", claim.encode(published=False), ex=600)
    async with rig.scorer():
        await rig.send_vectors(vector)
        assert await rig.decided(vector.event_id) == claim.decision
        await until(lambda: marked(rig, vector.event_id))
        assert 600 < await rig.redis.ttl(f"d:{vector.event_id}") <= 30 * 86_400  # counted from the topic's record on


async def test_a_claim_left_by_a_crash_is_answered_over_rest_with_its_purchase(
    rig: Rig, http: httpx.AsyncClient, unique: str
) -> None:
    promoted(rig.registry)
    vector = vector_of(1, unique)
    [left] = Outside().decider().decide([vector], "rest")
    claim = Claim(vector.event_id, accepted(1, customer_id=unique).fingerprint, encode(left))
    await rig.redis.set(f"d:{vector.event_id}", claim.encode(published=False), ex=600)
    async with rig.scorer() as scorer:
        assert await ask(http, scorer, 1, unique) == claim.decision
    assert await rig.decisions(vector.event_id) == [claim.decision]
    assert [r.value for r in await rig.records(TRANSACTIONS.name) if r.key == unique.encode()] != []


async def test_a_killed_scorer_leaves_no_event_with_two_decisions(rig: Rig, unique: str) -> None:
    promoted(rig.registry)
    vectors = [vector_of(i, f"{unique}-{i}") for i in range(1500)]
    wanted = {vector.event_id.encode() for vector in vectors}

    async def found() -> dict[bytes, set[bytes]]:
        decided: dict[bytes, set[bytes]] = {}
        for record in await rig.records(DECISIONS.name):
            if (event_id := dict(record.headers)["ce_id"]) in wanted:
                decided.setdefault(event_id, set()).add(record.value)
        return decided

    async def some() -> bool:
        return len(await found()) > 0

    async def all_of_them() -> bool:
        return (await found()).keys() == wanted

    async with rig.scorer(SCORER__CHUNK_RECORDS="1") as first:
        await rig.send_vectors(*vectors)
        await until(some)
        await asyncio.to_thread(first.process.kill)
        assert (await found()).keys() < wanted  # it was killed in the middle
    async with rig.scorer():
        await until(all_of_them)
    assert all(len(bodies) == 1 for bodies in (await found()).values())


async def test_a_poison_vector_gets_one_letter_and_its_neighbours_their_decisions(rig: Rig, unique: str) -> None:
    promoted(rig.registry)
    before, after = vector_of(1, unique), vector_of(2, unique)
    async with rig.scorer() as scorer:
        poison = OutgoingRecord(FEATURES.name, unique.encode(), b'{"event_id": NaN}')
        await rig.producer.send_all([rig.vector_record(before), poison, rig.vector_record(after)])
        for vector in (before, after):
            assert await rig.decided(vector.event_id)
        refused = 'flit_dead_letters_total{reason="nonfinite",service="scorer"}'
        await until(lambda: _is(scorer, refused, 1.0))
    letters = [msgspec.json.decode(r.value) for r in await rig.records(DEAD_LETTERS.name) if r.key == unique.encode()]
    assert [(letter["reason"], letter["topic"], letter["service"]) for letter in letters] == [
        ("nonfinite", FEATURES.name, "scorer")
    ]


async def _is(scorer: Scorer, sample: str, value: float) -> bool:
    return await asyncio.to_thread(scorer.metric, sample) == value


async def test_models_and_policies_are_swapped_and_rolled_back_without_a_failed_request(
    rig: Rig, http: httpx.AsyncClient, unique: str
) -> None:
    first = promoted(rig.registry)
    second, third = (register(rig.registry, intercept=intercept) for intercept in (-1.5, -1.0))
    policy = rig.folder / "policy.yaml"
    policy.write_text(DEFAULT_POLICY.read_text())
    statuses: Counter[int] = Counter()
    seen: list[tuple[str, str]] = []
    async with rig.scorer(SCORER__POLICY_FILE=str(policy)) as scorer:
        stop = asyncio.Event()

        async def keep_asking(lane: int) -> None:
            number = 0
            while not stop.is_set():
                number += 1
                answer = await http.post(
                    f"{scorer.url}/v1/decisions",
                    content=body_of(number, customer_id=f"{unique}-{lane}"),
                    headers=JSON,
                )
                statuses[answer.status_code] += 1
                decision = answer.json()
                seen.append((decision["model_version"], decision["policy_version"]))

        async def decides(model: str, policy_name: str) -> None:
            start = len(seen)

            async def arrived() -> bool:
                return (model, policy_name) in seen[start:]

            await until(arrived)

        lanes = [asyncio.create_task(keep_asking(lane)) for lane in range(4)]
        before = load_policy(policy).name
        await decides(first, before)
        rig.registry.promote(second, "test")  # as the trainer does
        await decides(second, before)
        assert (await http.post(f"{scorer.url}/v1/models/{third}/promote")).status_code == 200
        await decides(third, before)
        policy.write_text(DEFAULT_POLICY.read_text().replace('approve_up_to: "0.0285"', 'approve_up_to: "0.0100"'))
        after = load_policy(policy).name
        await decides(third, after)
        assert (await http.post(f"{scorer.url}/v1/models/rollback")).json()["current"]["version"] == second
        await decides(second, after)
        stop.set()
        await asyncio.gather(*lanes)
        assert scorer.metric(f'flit_model_info{{role="champion",version="{second}"}}') == 1
    assert set(statuses) == {200}
    assert {model for model, _ in seen} == {first, second, third}
    assert {name for _, name in seen} == {before, after}
    assert {path.stem for path in (rig.registry.root / "policies").iterdir()} == {before, after}


async def test_history_is_decided_without_a_model_and_says_so(rig: Rig, unique: str) -> None:
    vector = vector_of(1, unique)
    async with rig.scorer():
        await rig.send_vectors(vector)
        decision = msgspec.json.decode(await rig.decided(vector.event_id))
    assert (decision["degraded"], decision["model_version"]) == ("no_model", "none")


async def test_sigterm_ends_both_doors_within_the_grace_period(rig: Rig, http: httpx.AsyncClient, unique: str) -> None:
    promoted(rig.registry)
    async with rig.scorer() as scorer:

        async def within() -> bool:
            return scorer.metric("flit_scorer_requests_in_flight") == len(asking)

        async def shutting() -> bool:
            return await asyncio.to_thread(status_of, scorer.metrics_port, "/ready") == 503

        await asyncio.to_thread(rig.parts.valkey.pause)  # all that were let in wait within, then
        try:
            asking = [asyncio.create_task(ask(http, scorer, i, f"{unique}-{i}")) for i in range(20)]
            await until(within)
            ending = asyncio.create_task(asyncio.to_thread(scorer.process.stop))
            await until(shutting)
        finally:
            await asyncio.to_thread(rig.parts.valkey.resume)
        answers = await asyncio.gather(*asking)
        await ending
        assert scorer.process.exit_code == 0
    assert set(answers) <= {record.value for record in await rig.records(DECISIONS.name)}
    with contextlib.suppress(httpx.TransportError):
        raise AssertionError((await http.get(f"{scorer.url}/live")).status_code)
