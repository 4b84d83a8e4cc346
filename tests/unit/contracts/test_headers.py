"""Headers of others: Kafka allows one without a value, and nothing may fall over it."""

from __future__ import annotations

from typing import Any

from shared.contracts.dead_letters import dead_letter
from shared.contracts.headers import header
from shared.contracts.rejections import Rejection, RejectionReason

NULL: Any = None
HEADERS: list[tuple[str, bytes]] = [("schema_version", b"1"), ("x", NULL), ("\u0000", b"\xff")]
HEADERS.append(("schema_version", NULL))


def test_a_header_without_a_value_is_as_good_as_absent() -> None:
    assert header(HEADERS, "x") is None
    assert header(HEADERS, "schema_version") is None
    assert header(HEADERS[:1], "schema_version") == "1"
    assert header(None, "x") is None


def test_a_letter_can_be_written_of_a_record_with_such_headers() -> None:
    letter = dead_letter(
        Rejection(RejectionReason.SYNTAX, "", "JSON"), service="features", topic="t", partition=0, offset=0,
        received_at="2026-06-02T00:00:00.000000Z", key=None, value=b"{", headers=HEADERS,
    )  # fmt: skip
    assert letter.headers["x"] == ""
