from __future__ import annotations

import asyncio
from typing import Any

import pytest
from starlette.requests import Request

from services.scorer.admission import Admission, Overloaded
from services.scorer.door import MOST_ARRIVING_BYTES, MOST_OF_CALLER_BYTES, Door
from services.scorer.keys import Access, Caller, Scope
from services.scorer.rate import Rate

BATCH = 4_194_304
SHOP, OTHER = (Caller(name, frozenset({Scope.DECIDE}), None) for name in ("shop", "other"))


@pytest.fixture
def door() -> Door:
    admission = Admission(most=1000, within_s=60.0)
    return Door(Access(None), admission, Rate(1000.0, 1000), read_seconds=60.0, max_arriving=1000, deadline_s=60.0)


async def a_body_on_its_way(door: Door, caller: Caller, most: int = BATCH, announced: int | None = None) -> Any:
    """As a task, once the door waits for it."""

    async def never() -> dict[str, Any]:
        await asyncio.Event().wait()
        return {}

    headers = [(b"content-type", b"application/json")]
    if announced is not None:
        headers.append((b"content-length", b"%d" % announced))
    request = Request({"type": "http", "method": "POST", "headers": headers, "query_string": b""}, never)
    task = asyncio.create_task(door.body(request, caller, most))
    await asyncio.sleep(0.01)
    return task


async def ended(*tasks: Any) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def test_bodies_of_a_caller_that_are_on_their_way_are_bounded_by_what_they_may_have(door: Door) -> None:
    slow = [await a_body_on_its_way(door, SHOP) for _ in range(MOST_OF_CALLER_BYTES // BATCH)]
    for announced in (None, BATCH - 1):
        with pytest.raises(Overloaded):
            await (await a_body_on_its_way(door, SHOP, announced=announced))
    others = await a_body_on_its_way(door, OTHER)
    assert not others.done(), "nobody else is kept out"
    await ended(slow.pop())
    again = await a_body_on_its_way(door, SHOP)
    assert not again.done()
    await ended(*slow, others, again)


async def test_what_a_body_announces_is_what_it_counts_for(door: Door) -> None:
    small = [await a_body_on_its_way(door, SHOP, announced=1000) for _ in range(100)]
    assert not any(task.done() for task in small)
    await ended(*small)


async def test_all_callers_together_are_bounded_but_for_the_first_body_of_each(door: Door) -> None:
    callers = [Caller(f"shop-{number}", frozenset({Scope.DECIDE}), None) for number in range(4)]
    each = MOST_ARRIVING_BYTES // len(callers) // BATCH
    slow = [await a_body_on_its_way(door, caller) for caller in callers for _ in range(each)]
    first = await a_body_on_its_way(door, SHOP)
    assert not first.done()
    with pytest.raises(Overloaded):
        await (await a_body_on_its_way(door, SHOP))
    await ended(*slow, first)


async def test_a_body_larger_than_a_callers_share_passes_alone(door: Door) -> None:
    alone = await a_body_on_its_way(door, SHOP, most=2 * MOST_OF_CALLER_BYTES)
    assert not alone.done()
    await ended(alone)
