from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import msgspec
import pytest
from aiokafka import ConsumerRecord, TopicPartition
from prometheus_client import REGISTRY

from services.scorer.claims import ANY_BODY, Claim
from services.scorer.stream import Halted, StreamDoor
from shared.contracts.events import FeatureVector, encode
from shared.contracts.headers import header
from shared.contracts.topics import DEAD_LETTERS, DECISIONS, FEATURES
from shared.exposure import reservation_of
from shared.kafka.errors import TransientError
from shared.kafka.refusal_limit import RefusalLimit
from tests.unit.scorer.fakes import FakeClaims, FakeSender, Outside
from tests.unit.scorer.parts import a_vector, accepted

PLACE = TopicPartition(FEATURES.name, 2)


async def _ready() -> None:
    return None


NO_LIMIT = RefusalLimit(1, 0)


def door(outside: Outside, chunk_records: int = 64, refusals: RefusalLimit = NO_LIMIT, **others: Any) -> StreamDoor:
    return StreamDoor(
        outside.decider(),
        outside.claims,
        outside.sender,
        outside.exposures,
        confirm=_ready,
        chunk_records=chunk_records,
        refusals=refusals,
        halt_seconds=60,
        **others,
    )


def record(offset: int, value: bytes | None, key: bytes | None) -> ConsumerRecord[bytes | None, bytes | None]:
    return ConsumerRecord(FEATURES.name, 2, offset, 1_780_315_200_000, 0, key, value, None, 0, 0, [])


def of(vectors: Sequence[FeatureVector]) -> dict[TopicPartition, list[ConsumerRecord]]:
    return {PLACE: [record(i, encode(v), v.customer_id.encode()) for i, v in enumerate(vectors)]}


async def test_chunks_are_longer_where_no_checkout_waits() -> None:
    quiet = iter([True, False, False, True])
    outside, sizes = Outside(), []
    claim = outside.claims.claim

    async def note(wanted: Sequence[Claim]) -> list[Claim]:
        sizes.append(len(wanted))
        return await claim(wanted)

    outside.claims.claim = note  # type: ignore[method-assign]
    await door(outside, 10, quiet=lambda: next(quiet)).handle(of([a_vector(i) for i in range(1, 71)]))
    assert sizes == [40, 10, 10, 10]


async def test_every_vector_gets_one_decision_in_order_and_its_mark() -> None:
    outside = Outside()
    vectors = [a_vector(i) for i in range(1, 151)]
    await door(outside, 64).handle(of(vectors))
    sent = [msgspec.json.decode(value)["event_id"] for value in outside.sender.on(DECISIONS.name)]
    assert sent == [vector.event_id for vector in vectors]
    assert all(claim.published for claim in outside.claims.held.values())


async def test_a_batch_given_again_is_not_decided_again() -> None:
    outside = Outside()
    batch = of([a_vector(i) for i in range(1, 11)])
    await door(outside).handle(batch)
    before = list(outside.sender.sent)
    await door(outside).handle(batch)
    assert outside.sender.sent == before


TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


async def test_a_decision_goes_on_in_the_trace_of_its_vector() -> None:
    outside = Outside()
    traced, untraced = a_vector(1), a_vector(2)
    batch = of([traced, untraced])
    batch[PLACE][0].headers.append(("traceparent", TRACE.encode()))
    await door(outside).handle(batch)
    assert [header(sent.headers, "traceparent") for sent in outside.sender.sent] == [TRACE, None]


@pytest.mark.parametrize(
    ("told", "seconds"), [("2026-06-01T11:59:50.000000Z", 10.0), ("yesterday", 0.0), ("2026-06-01T11:59:50", 0.0)]
)
async def test_the_time_to_a_decision_counts_from_the_purchase_s_own_record(
    told: str, seconds: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.scorer.stream.time.time", lambda: 1_780_315_200.0)
    before = REGISTRY.get_sample_value("flit_event_to_decision_seconds_sum") or 0.0
    batch = of([a_vector(1)])
    batch[PLACE][0].headers.append(("ce_recordedtime", told.encode()))
    await door(Outside()).handle(batch)
    assert (REGISTRY.get_sample_value("flit_event_to_decision_seconds_sum") or 0.0) - before == pytest.approx(seconds)


async def test_an_event_twice_in_a_batch_is_decided_once_on_its_first_vector() -> None:
    outside = Outside()
    first = a_vector(1)
    again = msgspec.structs.replace(first, computed_at="2026-06-01T13:00:00.000000Z")
    await door(outside).handle(of([first, again]))
    assert len(outside.sender.on(DECISIONS.name)) == 1


async def test_a_foreign_claim_that_was_not_published_is_produced_unchanged_and_marked() -> None:
    theirs = encode_like_rest()
    vector = a_vector(1)
    left = Claim(vector.event_id, accepted(1).fingerprint, theirs)
    outside = Outside(claims=FakeClaims({vector.event_id: left}))
    await door(outside).handle(of([vector]))
    assert outside.sender.on(DECISIONS.name) == [theirs]
    assert outside.claims.held[vector.event_id].published
    assert outside.claims.held[vector.event_id].decision == theirs


async def test_a_published_claim_is_left_alone() -> None:
    vector = a_vector(1)
    done = Claim(vector.event_id, accepted(1).fingerprint, encode_like_rest(), published=True)
    outside = Outside(claims=FakeClaims({vector.event_id: done}))
    await door(outside).handle(of([vector]))
    assert outside.sender.sent == []


async def test_the_claim_of_another_body_stays_the_events_one_decision() -> None:
    """Over REST a moment ago: the features service didn't know of it. Its checkout publishes it, on its own terms."""
    vector = a_vector(1, amount=12.0, event_id=a_vector(1).event_id)
    left = Claim(vector.event_id, accepted(1).fingerprint, encode_like_rest())
    outside = Outside(claims=FakeClaims({vector.event_id: left}))
    await door(outside).handle(of([vector, vector]))
    assert outside.sender.on(DECISIONS.name) == []
    assert letters(outside) == [("conflict", 0), ("conflict", 1)]
    assert outside.claims.held == {vector.event_id: left}
    # The account's entry is named by the event, and the checkout may be about to settle it: it is left to lapse.
    assert await owes(outside, vector)
    assert not await owes(outside, vector, now_ms=2**43)


async def test_who_uses_the_event_of_another_customer_owes_nothing_for_it() -> None:
    vector = a_vector(1, customer_id="cust_000077", event_id=a_vector(1).event_id)
    left = Claim(vector.event_id, accepted(1).fingerprint, encode_like_rest())
    outside = Outside(claims=FakeClaims({vector.event_id: left}))
    await door(outside).handle(of([vector]))
    assert letters(outside) == [("conflict", 0)]
    assert not await owes(outside, vector)


@pytest.mark.parametrize("known_body", [True, False], ids=["its own claim", "a restored claim"])
@pytest.mark.parametrize("published", [True, False])
async def test_another_customers_purchase_under_a_taken_id_gets_a_letter_and_nothing_else(
    known_body: bool, published: bool
) -> None:
    mine, theirs = a_vector(1), a_vector(2, event_id=a_vector(1).event_id)
    fingerprint = accepted(1).fingerprint if known_body else ANY_BODY
    left = Claim(mine.event_id, fingerprint, encode_like_rest(), published)
    outside = Outside(claims=FakeClaims({mine.event_id: left}))
    await door(outside).handle(of([theirs]))
    assert outside.sender.on(DECISIONS.name) == []
    assert letters(outside) == [("conflict", 0)]
    assert outside.claims.held == {mine.event_id: left}
    assert not await owes(outside, theirs)


async def test_two_customers_purchases_under_one_id_in_a_batch_are_told_apart() -> None:
    outside = Outside()
    first, other = a_vector(1), a_vector(2, event_id=a_vector(1).event_id)
    await door(outside).handle(of([first, other, a_vector(3), first]))
    sent = [msgspec.json.decode(value)["customer_id"] for value in outside.sender.on(DECISIONS.name)]
    assert sent == [first.customer_id, a_vector(3).customer_id]
    assert letters(outside) == [("conflict", 1)]
    assert await owes(outside, first)
    assert not await owes(outside, other)


async def test_an_event_that_was_decided_for_the_later_of_two_bodies_is_that_ones() -> None:
    theirs = encode_like_rest()
    left = Claim(a_vector(1).event_id, accepted(1).fingerprint, theirs)
    outside = Outside(claims=FakeClaims({left.event_id: left}))
    other = a_vector(2, event_id=left.event_id)
    await door(outside).handle(of([other, a_vector(1), other]))
    assert outside.sender.on(DECISIONS.name) == [theirs]
    assert letters(outside) == [("conflict", 0), ("conflict", 2)]
    assert outside.claims.held[left.event_id].published
    assert await owes(outside, a_vector(1))


async def test_one_id_for_everything_is_refused_in_one_go() -> None:
    outside = Outside()
    await door(outside).handle(of([a_vector(number, event_id="the same") for number in range(1, 65)]))
    assert len(outside.sender.on(DECISIONS.name)) == 1
    assert letters(outside) == [("conflict", offset) for offset in range(1, 64)]
    assert outside.claims.claimed == ["the same"]


async def test_a_claim_that_tells_nothing_is_the_events_decision_all_the_same() -> None:
    left = Claim(a_vector(1).event_id, ANY_BODY, b'{"event_id":"x"}', published=True)
    outside = Outside(claims=FakeClaims({left.event_id: left}))
    await door(outside).handle(of([a_vector(1)]))
    assert outside.sender.sent == []


async def test_a_topic_of_which_most_would_be_refused_is_left_alone_and_taken_up_where_it_was() -> None:
    outside, now = Outside(), [1000.0]
    batch: dict[TopicPartition, list[ConsumerRecord]] = {PLACE: [record(i, b"{", b"k") for i in range(10)]}
    batch[PLACE].append(record(10, encode(a_vector(1)), a_vector(1).customer_id.encode()))
    limited = door(outside, 2, RefusalLimit(0.5, 4, lambda: now[0]), clock=lambda: now[0])
    for refused_so_far, pause in ((4, 59), (4, 2), (8, 61)):
        with pytest.raises(Halted):
            await limited.handle(batch)
        assert len(outside.sender.on(DEAD_LETTERS.name)) == refused_so_far
        assert REGISTRY.get_sample_value("flit_scorer_halted", {"topic": FEATURES.name}) == 1
        now[0] += pause
    now[0] += 20  # the batch went to another process
    assert REGISTRY.get_sample_value("flit_scorer_halted", {"topic": FEATURES.name}) == 0
    await limited.handle(batch)
    assert len(outside.sender.on(DEAD_LETTERS.name)) == 10
    assert len(outside.sender.on(DECISIONS.name)) == 1
    assert REGISTRY.get_sample_value("flit_scorer_halted", {"topic": FEATURES.name}) == 0


async def test_a_restored_claim_is_that_of_its_purchase() -> None:
    left = Claim(a_vector(1).event_id, ANY_BODY, encode_like_rest(), published=True)
    outside = Outside(claims=FakeClaims({left.event_id: left}))
    await door(outside).handle(of([a_vector(1)]))
    assert outside.sender.sent == []


async def test_a_poison_vector_gets_one_letter_and_its_neighbours_their_decisions() -> None:
    outside = Outside()
    batch = of([a_vector(1), a_vector(2)])
    batch[PLACE].insert(1, record(7, b"\xff{", b"cust_000009"))
    await door(outside).handle(batch)
    assert len(outside.sender.on(DECISIONS.name)) == 2
    [letter] = outside.sender.on(DEAD_LETTERS.name)
    body = msgspec.json.decode(letter)
    assert (body["reason"], body["service"], body["topic"]) == ("utf8", "scorer", FEATURES.name)
    assert (body["partition"], body["offset"], body["value_base64"]) == (2, 7, "/3s=")
    assert [r.key for r in outside.sender.sent if r.topic == DEAD_LETTERS.name] == [b"cust_000009"]


async def test_a_batch_of_poison_alone_is_done_with_its_letters() -> None:
    outside = Outside()
    await door(outside).handle({PLACE: [record(0, None, None), record(1, b"", b"k")]})
    assert [msgspec.json.decode(v)["reason"] for v in outside.sender.on(DEAD_LETTERS.name)] == ["tombstone", "empty"]


@pytest.mark.parametrize(
    "outside",
    [
        Outside(claims=FakeClaims(away=True)),
        Outside(claims=FakeClaims(away_for_marks=True)),
        Outside(sender=FakeSender(refused_topics={DECISIONS.name})),
    ],
)
async def test_a_batch_is_not_done_while_redis_or_kafka_is_away_and_keeps_its_bytes(outside: Outside) -> None:
    batch = of([a_vector(1)])
    with pytest.raises(TransientError):
        await door(outside).handle(batch)
    claimed = {claim.decision for claim in outside.claims.held.values()}
    outside.claims.away = outside.claims.away_for_marks = False
    outside.sender.refused_topics.clear()
    await door(outside).handle(batch)
    [decision] = set(outside.sender.on(DECISIONS.name))
    assert not claimed or claimed == {decision}


async def test_nothing_is_decided_before_it_is_confirmed_that_it_may_be() -> None:
    outside = Outside()

    async def not_yet() -> None:
        raise TransientError("redis: away")

    waiting = StreamDoor(
        outside.decider(), outside.claims, outside.sender, outside.exposures, confirm=not_yet, chunk_records=8,
        refusals=NO_LIMIT, halt_seconds=60,
    )  # fmt: skip
    with pytest.raises(TransientError):
        await waiting.handle(of([a_vector(1)]))
    assert outside.claims.held == {}


def letters(outside: Outside) -> list[tuple[str, int]]:
    """(reason, offset) of each."""
    bodies = [msgspec.json.decode(letter) for letter in outside.sender.on(DEAD_LETTERS.name)]
    return [(body["reason"], body["offset"]) for body in bodies]


async def owes(outside: Outside, vector: FeatureVector, now_ms: int = 0) -> bool:
    """Whether the purchase is on its customer's account: a limit just above it leaves no room for another like it."""
    bought = vector.transaction
    placed = (PLACE.partition, bought.customer_id, reservation_of(bought, outside.decider().policy))
    again = replace(placed[2], event_id="another")
    room = await outside.exposures.reserve([(*placed[:2], again)], placed[2].cents, now_ms)
    return not room[0]


def encode_like_rest() -> bytes:
    """A decision of the same event that only the other door can have made."""
    [decision] = Outside().decider().decide([a_vector(1)], "rest")
    return encode(decision)
