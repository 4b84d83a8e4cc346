"""What a checkout was told, against what the topic says of it."""

from __future__ import annotations

import httpx
import pytest

from tests.chaos.checkouts import Told, judged, provisional, reason_of

GOOD, LATER = Told(b"a", provisional=False), Told(b"a", provisional=True)


def test_what_was_told_is_on_the_topic_or_was_provisional() -> None:
    assert judged({"e1": GOOD, "e2": LATER}, {"e1": b"a", "e2": b"b"}) == []


@pytest.mark.parametrize(
    ("told", "decided", "said"),
    [
        ({"e1": GOOD, "e2": GOOD}, {"e1": b"a", "e2": b"b"}, "1 checkouts were told something else"),
        ({"e1": GOOD, "e2": GOOD}, {"e1": b"a"}, "1 checkouts have no decision on the topic: ['e2']"),
        ({"e1": GOOD, "e2": LATER}, {"e1": b"a"}, "1 checkouts have no decision on the topic: ['e2']"),
        ({"e2": LATER}, {"e2": b"b"}, "none was given a decision for good"),
        ({}, {}, "of 0 checkouts none was given a decision for good"),
    ],
)
def test_what_the_topic_belies_is_named(told: dict[str, Told], decided: dict[str, bytes], said: str) -> None:
    (found,) = judged(told, decided)
    assert said in found


@pytest.mark.parametrize(
    ("degraded", "as_of", "is_so"),
    [
        ("rebuilding", -1, True),
        ("state_unavailable", -1, True),
        ("rebuilding", 41, False),  # of states that stand still: it is claimed, and on the topic
        ("no_model", -1, False),
        (None, 41, False),
    ],
)
def test_an_answer_says_itself_whether_it_stands_on_no_topic(degraded: str | None, as_of: int, is_so: bool) -> None:
    assert provisional({"degraded": degraded, "as_of": {"transactions": as_of, "outcomes": as_of}}) is is_so


@pytest.mark.parametrize(
    ("body", "reason"),
    [({"reason": "future"}, "future"), ({"title": "?"}, None), (["future"], None), (None, None)],
)
def test_a_refusal_is_known_by_the_reason_that_it_names(body: object, reason: str | None) -> None:
    answer = httpx.Response(422, content=b"no JSON") if body is None else httpx.Response(422, json=body)
    assert reason_of(answer) == reason
