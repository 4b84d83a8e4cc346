"""Headers found by name are those that the framework finds."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from starlette.datastructures import Headers

from services.scorer.quick_request import QuickHeaders, QuickRequest

NAMES = ("host", "content-type", "if-match", "x-none")
SENT = st.lists(st.tuples(st.sampled_from([name.encode() for name in NAMES[:3]]), st.binary(max_size=5)), max_size=6)


@given(sent=SENT, asked=st.sampled_from(NAMES), upper=st.booleans())
def test_each_name_is_found_as_the_framework_finds_it(sent: list[tuple[bytes, bytes]], asked: str, upper: bool) -> None:
    quick, theirs = QuickHeaders(list(sent)), Headers(raw=list(sent))
    name = asked.title() if upper else asked
    assert quick.get(name) == theirs.get(name)
    assert quick.get(name, "else") == theirs.get(name, "else")
    assert (name in quick) is (name in theirs)
    assert quick.getlist(name) == theirs.getlist(name)
    assert quick.raw == theirs.raw


def test_a_request_has_them() -> None:
    async def nothing(*_: Any) -> Any:
        raise AssertionError("not asked for")

    request = QuickRequest({"type": "http", "headers": [(b"host", b"here")]}, nothing, nothing)
    assert request.headers.get("Host") == "here"
