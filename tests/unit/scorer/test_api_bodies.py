"""The REST door: what a body may be, and how it may be sent."""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from services.scorer.body import MOST_SPILT
from tests.unit.scorer.fakes import Outside
from tests.unit.scorer.parts import body_of
from tests.unit.scorer.rest import JSON, LIMIT, URL, Asked, assert_problem, client_of


@pytest.fixture
async def client(outside: Outside) -> AsyncIterator[httpx.AsyncClient]:
    async with client_of(outside.checkout()) as found:
        yield found


REFUSED: list[tuple[str, bytes, int, str, str]] = [
    ("broken JSON", b"{", 400, "syntax", ""),
    ("bytes after it", body_of() + b"x", 400, "syntax", ""),
    ("nothing", b"", 400, "empty", ""),
    ("an array", b"[]", 422, "shape", ""),
    ("no UTF-8", b'{"a": "\xff"}', 400, "utf8", ""),
    ("NaN", body_of().replace(b"67.51", b"NaN"), 400, "nonfinite", ""),
    ("1e400", body_of().replace(b"67.51", b"1e400"), 400, "range", ""),
    ("true as amount", body_of(amount=True), 422, "type", "amount"),
    ("text as amount", body_of(amount="12"), 422, "type", "amount"),
    ("a negative amount", body_of(amount=-1), 422, "range", "amount"),
    ("three decimals", body_of(amount=1.234), 422, "precision", "amount"),
    ("an amount over the cap", body_of(amount=100_001), 422, "range", "amount"),
    ("2^53 + 1", body_of(amount=2**53 + 1), 422, "range", ""),
    ("the future", body_of(occurred_at="2027-06-01T12:00:00Z"), 422, "future", "occurred_at"),
    ("a naive time", body_of(occurred_at="2026-06-01T11:00:00"), 422, "timezone", "occurred_at"),
    ("an epoch number", body_of(occurred_at=1780315200), 422, "type", "occurred_at"),
    ("30 February", body_of(occurred_at="2026-02-30T11:00:00Z"), 422, "date", "occurred_at"),
    ("a key twice", b'{"a": 1, "a": 2}', 400, "duplicate-key", "a"),
    ("no customer", body_of(customer_id=None), 422, "missing", "customer_id"),
    ("a blank customer", body_of(customer_id="  "), 422, "missing", "customer_id"),
    ("a long id", body_of(customer_id="x" * 129), 422, "length", "customer_id"),
    ("NUL in an id", body_of(customer_id="a\x00b"), 422, "control", "customer_id"),
    ("a lone surrogate", body_of().replace(b"txn_", b"\\ud800"), 400, "unicode", ""),
    ("a bidirectional id", body_of(customer_id="a\u202eb"), 422, "unicode", "customer_id"),
    ("too large", b"[" + b" " * LIMIT + b"]", 413, "size", ""),
    ("too deep", b'{"a":' * 21 + b"1" + b"}" * 21, 400, "depth", ""),
    ("201 keys", json.dumps({f"k{i}": i for i in range(201)}).encode(), 422, "shape", ""),
    ("an unknown currency", body_of(currency="XXX"), 422, "enum", "currency"),
    ("an unknown status", body_of(status="maybe"), 422, "enum", "status"),
    ("a label", body_of(will_default=True), 422, "shape", "will_default"),
]


@pytest.mark.parametrize(
    ("body", "status", "reason", "field"), [case[1:] for case in REFUSED], ids=[c[0] for c in REFUSED]
)
async def test_a_bad_body_is_refused_with_its_reason(
    client: httpx.AsyncClient, outside: Outside, body: bytes, status: int, reason: str, field: str
) -> None:
    problem = assert_problem(await client.post(URL, content=body, headers=JSON), status, reason)
    assert problem["field"] == field
    assert outside.sender.sent == []


@pytest.mark.parametrize(
    "changes", [{"amount": 0}, {"amount": -0.0}, {"extra": 1}, {"product": {"category": "boats", "brand": "😀"}}]
)
async def test_what_is_merely_odd_is_decided(client: httpx.AsyncClient, changes: dict[str, Any]) -> None:
    assert (await client.post(URL, content=body_of(**changes), headers=JSON)).status_code == 200


async def test_a_byte_order_mark_is_passed_over(client: httpx.AsyncClient) -> None:
    assert (await client.post(URL, content=b"\xef\xbb\xbf" + body_of(), headers=JSON)).status_code == 200


@pytest.mark.parametrize(
    ("content_type", "accepted_"),
    [
        ("application/json", True),
        ("Application/JSON; charset=UTF-8", True),
        ("application/json; charset=latin-1", False),
        ("text/plain", False),
        ("application/x-www-form-urlencoded", False),
        ("", False),
    ],
)
async def test_only_json_is_a_known_content_type(client: httpx.AsyncClient, content_type: str, accepted_: bool) -> None:
    answer = await client.post(URL, content=body_of(), headers={"Content-Type": content_type})
    if accepted_:
        assert answer.status_code == 200
    else:
        assert assert_problem(answer, 415, "media-type")["expected"] == "application/json"


async def test_gzip_is_unpacked(client: httpx.AsyncClient) -> None:
    packed = JSON | {"Content-Encoding": "gzip"}
    assert (await client.post(URL, content=gzip.compress(body_of()), headers=packed)).status_code == 200


@pytest.mark.parametrize(
    ("body", "status", "reason"),
    [
        (gzip.compress(b" " * 50_000_000), 413, "size"),
        (body_of(), 400, "syntax"),
        (gzip.compress(body_of())[:-4], 400, "syntax"),
        (gzip.compress(body_of()) + b"more", 400, "syntax"),
    ],
)
async def test_bombs_and_broken_gzip_are_refused(
    client: httpx.AsyncClient, body: bytes, status: int, reason: str
) -> None:
    answer = await client.post(URL, content=body, headers=JSON | {"Content-Encoding": "gzip"})
    assert_problem(answer, status, reason)


@pytest.mark.parametrize("encoding", ["br", "deflate", "gzip, gzip", "x"])
async def test_an_unknown_encoding_is_refused(client: httpx.AsyncClient, encoding: str) -> None:
    answer = await client.post(URL, content=body_of(), headers=JSON | {"Content-Encoding": encoding})
    assert_problem(answer, 415, "encoding")


async def test_a_body_without_a_length_is_counted_while_it_comes(client: httpx.AsyncClient) -> None:
    taken = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal taken
        while True:
            taken += 1
            yield b" " * 4096

    assert_problem(await client.post(URL, content=endless(), headers=JSON), 413, "size")
    assert taken <= (LIMIT + MOST_SPILT) // 4096 + 2


async def test_who_sends_too_much_is_refused_once_he_has_sent_it(client: httpx.AsyncClient) -> None:
    """Refused while he sends, he may find the connection reset in place of the answer."""
    sent = 0

    async def pieces() -> AsyncIterator[bytes]:
        nonlocal sent
        for _ in range(2 * LIMIT // 4096):
            sent += 4096
            yield b" " * 4096

    for headers in (JSON, JSON | {"Content-Length": str(2 * LIMIT)}):
        sent = 0
        assert_problem(await client.post(URL, content=pieces(), headers=headers), 413, "size")
        assert sent == 2 * LIMIT


async def test_who_asks_whether_to_send_too_much_is_told_no_at_once(client: httpx.AsyncClient) -> None:
    asked_for = 0

    async def pieces() -> AsyncIterator[bytes]:
        nonlocal asked_for
        asked_for += 1
        yield b" " * (LIMIT + 1)

    headers = JSON | {"Content-Length": str(LIMIT + 1), "Expect": "100-continue"}
    assert_problem(await client.post(URL, content=pieces(), headers=headers), 413, "size")
    assert not asked_for


async def test_too_large_a_body_that_never_ends_is_no_slow_one() -> None:
    async def endless() -> AsyncIterator[bytes]:
        yield b" " * (LIMIT + 1)
        await asyncio.Event().wait()

    async with client_of(Asked(), read_seconds=0.01) as client:
        assert_problem(await client.post(URL, content=endless(), headers=JSON), 413, "size")


async def test_an_announced_length_over_the_limit_is_refused() -> None:
    use_case = Asked()
    async with client_of(use_case) as client:
        headers = JSON | {"Content-Length": str(LIMIT + 1)}
        assert_problem(await client.post(URL, content=b"", headers=headers), 413, "size")
    assert use_case.questions == []
