"""What accounts promise, whoever keeps them: the fake in memory, and the scripts in Redis."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from typing import Protocol

from hypothesis import strategies as st

from shared.exposure import Reservation, Standing
from shared.exposure.store import MOST_ENTRIES, PENDING_MS, Placed

NOW_MS = 1_780_315_200_000
DAY = 20_605


class Accounts(Protocol):
    async def reserve(self, wanted: Sequence[Placed], limit_cents: int | None, now_ms: int) -> list[bool]: ...
    async def settle(self, decided: Sequence[tuple[Placed, int]]) -> None: ...
    async def take_back(self, wanted: Sequence[Placed], now_ms: int) -> None: ...
    async def change(self, partitions: Iterable[int], customer_id: str, event_id: str, standing: Standing) -> None: ...


def purchase(
    event_id: str, cents: int = 10_000, *, day: int = DAY, customer: str = "anna", period: int = 14, count: int = 4
) -> Placed:
    return 1, customer, Reservation(event_id, cents, day, period, count)


async def granted(accounts: Accounts, placed: Placed, limit: int | None = 25_000, now_ms: int = NOW_MS) -> bool:
    return (await accounts.reserve([placed], limit, now_ms))[0]


async def the_limit_holds_for_all_that_is_open(accounts: Accounts) -> None:
    assert [await granted(accounts, purchase(name)) for name in "abc"] == [True, True, False]
    assert await granted(accounts, purchase("c", 5_000)), "exactly up to the limit"
    assert not await granted(accounts, purchase("d", 1))
    assert await granted(accounts, purchase("e", customer="ben")), "another customer's account is another"
    assert await granted(accounts, purchase("f"), None), "without a limit everything stays within it"


async def many_at_once_do_not_pass_it_together(accounts: Accounts) -> None:
    answers = await asyncio.gather(*(granted(accounts, purchase(f"event-{i}", 1_000), 17_500) for i in range(200)))
    assert sum(answers) == 17


async def many_in_one_call_do_not_pass_it_together(accounts: Accounts) -> None:
    wanted = [purchase(f"event-{i}", 1_000, customer=("anna", "ben")[i % 2]) for i in range(100)]
    answers = await accounts.reserve(wanted, 17_500, NOW_MS)
    assert [i for i, answer in enumerate(answers) if answer] == list(range(34))


async def the_same_event_is_reserved_once(accounts: Accounts) -> None:
    for _ in range(3):
        assert await granted(accounts, purchase("a"))
    assert await granted(accounts, purchase("b"))
    assert not await granted(accounts, purchase("c"))


async def another_body_under_the_same_event_reserves_what_it_asks_for(accounts: Accounts) -> None:
    assert await granted(accounts, purchase("a", 100))
    assert not await granted(accounts, purchase("a", 30_000)), "more than the limit, whoever asked before"
    assert await granted(accounts, purchase("a", 20_000))
    assert not await granted(accounts, purchase("b")), "the greater of the two is held"
    assert await granted(accounts, purchase("a", 100)), "the lesser of them fits in"
    assert not await granted(accounts, purchase("b"))
    await accounts.settle([(purchase("a", 100), Standing.COUNTS)])
    assert await granted(accounts, purchase("b")), "what was claimed counts"
    assert await granted(accounts, purchase("a", 30_000)), "it has its decision: whatever is made of this comes second"
    assert await granted(accounts, purchase("c"))
    assert not await granted(accounts, purchase("d"))


async def what_is_released_is_free_again(accounts: Accounts) -> None:
    first, second, third = purchase("a"), purchase("b"), purchase("c")
    assert await granted(accounts, first)
    assert await granted(accounts, second)
    await accounts.settle([(first, Standing.RELEASED), (second, Standing.COUNTS)])
    assert await granted(accounts, third)
    assert not await granted(accounts, purchase("d"))


async def one_that_was_released_stays_so_when_it_is_asked_for_again(accounts: Accounts) -> None:
    first = purchase("a")
    assert await granted(accounts, first)
    await accounts.settle([(first, Standing.RELEASED)])
    assert await granted(accounts, first)
    assert [await granted(accounts, purchase(name)) for name in "bcd"] == [True, True, False]


async def what_nobody_claims_ends_by_itself(accounts: Accounts) -> None:
    assert await granted(accounts, purchase("a"))
    assert await granted(accounts, purchase("b"))
    assert not await granted(accounts, purchase("c"), now_ms=NOW_MS + PENDING_MS)
    assert await granted(accounts, purchase("c"), now_ms=NOW_MS + PENDING_MS + 1)


async def what_is_settled_counts_until_it_is_due(accounts: Accounts) -> None:
    first = purchase("a", 20_000)
    assert await granted(accounts, first)
    await accounts.settle([(first, Standing.COUNTS)])
    late = NOW_MS + 10 * PENDING_MS
    assert not await granted(accounts, purchase("b", day=DAY + 13), now_ms=late)
    assert await granted(accounts, purchase("b", day=DAY + 14), now_ms=late), "a quarter of it was due by then"


async def what_waits_for_a_verdict_counts_for_as_long_as_one_may_be_given(accounts: Accounts) -> None:
    waits, judged = purchase("a", 20_000), purchase("b", 5_000)
    until = NOW_MS + 100 * PENDING_MS
    for each in (waits, judged):
        assert await granted(accounts, each)
    await accounts.settle([(waits, until), (judged, until)])
    await accounts.change([1], "anna", "b", Standing.COUNTS)
    assert not await granted(accounts, purchase("c", 1), now_ms=until)
    assert await granted(accounts, purchase("c", 20_000), now_ms=until + 1)
    assert not await granted(accounts, purchase("d", 1), now_ms=until + 1), "what was approved counts on"


async def what_waits_for_a_verdict_is_settled(accounts: Accounts) -> None:
    waits = purchase("a", 20_000)
    assert await granted(accounts, waits)
    await accounts.settle([(waits, NOW_MS + 100 * PENDING_MS)])
    assert await granted(accounts, purchase("a", 24_000)), (
        "another body under its id, or other rates: it has its decision"
    )
    await accounts.take_back([waits], NOW_MS)
    late = NOW_MS + 10 * PENDING_MS
    assert not await granted(accounts, purchase("b", 5_001), now_ms=late)
    await accounts.change([1], "anna", "a", Standing.COUNTS)
    assert not await granted(accounts, purchase("b", 5_001), now_ms=NOW_MS + 200 * PENDING_MS)


async def what_was_called_off_stays_so_whatever_is_said_afterwards(accounts: Accounts) -> None:
    called_off = purchase("a", 20_000)
    assert await granted(accounts, called_off)
    await accounts.settle([(called_off, Standing.COUNTS)])
    await accounts.change([1], "anna", "a", Standing.CANCELLED)
    for standing in (Standing.COUNTS, Standing.RELEASED, Standing.COUNTS):
        await accounts.change([1], "anna", "a", standing)
    await accounts.settle([(called_off, Standing.COUNTS)])
    assert await granted(accounts, called_off), "it has its decision"
    assert await granted(accounts, purchase("b", 25_000))


async def a_verdict_changes_what_counts(accounts: Accounts) -> None:
    beyond = purchase("a", 30_000)
    assert not await granted(accounts, beyond)
    await accounts.settle([(beyond, Standing.RELEASED)])
    assert await granted(accounts, purchase("b"))
    await accounts.change([0, 1, 2], "anna", "a", Standing.COUNTS)
    assert not await granted(accounts, purchase("c", 1))
    await accounts.change([1], "anna", "a", Standing.RELEASED)
    assert await granted(accounts, purchase("c", 1))


async def a_change_of_what_is_not_there_changes_nothing(accounts: Accounts) -> None:
    await accounts.change([1], "anna", "a", Standing.COUNTS)
    assert await granted(accounts, purchase("b", 25_000))


async def what_is_settled_again_changes_nothing_but_counts_where_it_had_lapsed(accounts: Accounts) -> None:
    counts, called_off, lapsed = purchase("a", 20_000), purchase("b", 1_000), purchase("c", 5_000)
    for each in (counts, called_off):
        assert await granted(accounts, each)
    await accounts.settle([(counts, Standing.COUNTS), (called_off, Standing.RELEASED)])
    await accounts.settle([(each, Standing.COUNTS) for each in (counts, called_off, lapsed)])
    late = NOW_MS + 2 * PENDING_MS
    assert not await granted(accounts, purchase("d", 1), now_ms=late)
    await accounts.change([1], "anna", "c", Standing.RELEASED)
    assert await granted(accounts, purchase("d", 5_000), now_ms=late)
    assert not await granted(accounts, purchase("e", 1), now_ms=late)


async def what_is_taken_back_was_only_reserved(accounts: Accounts) -> None:
    counts, reserved, never = purchase("a", 20_000), purchase("b", 5_000), purchase("c")
    for each in (counts, reserved):
        assert await granted(accounts, each)
    await accounts.settle([(counts, Standing.COUNTS)])
    await accounts.take_back([counts, reserved, never], NOW_MS)
    assert not await granted(accounts, purchase("d", 5_001))
    assert await granted(accounts, purchase("d", 5_000))


async def an_account_that_nobody_could_add_up_is_beyond_any_limit(accounts: Accounts) -> None:
    """A merchant may call all of his customers the same, and adding them up would hold up everybody else."""
    limit = 10**12
    many = [purchase(f"event-{i}", 1, customer="guest") for i in range(MOST_ENTRIES + 1)]
    assert all(await accounts.reserve(many, limit, NOW_MS))
    await accounts.settle([(placed, Standing.COUNTS) for placed in many])
    assert await granted(accounts, many[7], limit), "what it holds it holds"
    assert not await granted(accounts, purchase("more", 1, customer="guest"), limit)
    assert await granted(accounts, purchase("more", 1, customer="guest"), None)
    await accounts.settle([(purchase("more", 1, customer="guest"), Standing.COUNTS)])
    assert not await granted(accounts, purchase("more", 1, customer="guest"), limit), "nor does it grow any further"
    assert await granted(accounts, purchase("other", 1), limit)
    later = NOW_MS + 200 * 86_400_000
    for i in range(2000):
        new = purchase(f"new-{i}", 1, day=DAY + 200, customer="guest")
        if await granted(accounts, new, limit, later):
            return
    raise AssertionError("what is over is not forgotten")


CONTRACT = (
    the_limit_holds_for_all_that_is_open,
    many_at_once_do_not_pass_it_together,
    many_in_one_call_do_not_pass_it_together,
    the_same_event_is_reserved_once,
    another_body_under_the_same_event_reserves_what_it_asks_for,
    what_is_released_is_free_again,
    one_that_was_released_stays_so_when_it_is_asked_for_again,
    what_nobody_claims_ends_by_itself,
    what_is_settled_counts_until_it_is_due,
    what_waits_for_a_verdict_counts_for_as_long_as_one_may_be_given,
    what_waits_for_a_verdict_is_settled,
    what_was_called_off_stays_so_whatever_is_said_afterwards,
    a_verdict_changes_what_counts,
    a_change_of_what_is_not_there_changes_nothing,
    what_is_settled_again_changes_nothing_but_counts_where_it_had_lapsed,
    what_is_taken_back_was_only_reserved,
    an_account_that_nobody_could_add_up_is_beyond_any_limit,
)

reservations = st.builds(
    Reservation,
    st.just("event"),
    cents=st.integers(0, 100_000_000),
    day=st.integers(0, 40_000),
    period_days=st.integers(1, 60),
    instalments=st.integers(1, 60),
)
