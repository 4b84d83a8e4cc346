"""Lines of an account as they lie in Redis; that scripts read and write the same is tried on a real one."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given

from shared.exposure import Reservation, Standing
from shared.exposure.entries import entry_of, name_of
from tests.unit.exposure.contract import reservations

USUAL = Reservation("event", 6751, 20_605, 14, 4)


@given(reservations)
def test_what_is_settled_takes_nine_bytes(held: Reservation) -> None:
    counts, released = (entry_of(standing, held) for standing in (Standing.COUNTS, Standing.RELEASED))
    assert len(counts) == len(released) == 9
    assert (counts[0], released[0]) == (1, 2)
    assert counts[1:] == released[1:]
    assert int.from_bytes(counts[1:5], "big") == held.cents


@pytest.mark.parametrize(
    "held",
    [
        replace(USUAL, cents=2**32),
        replace(USUAL, day=2**16),
        replace(USUAL, period_days=256),
        replace(USUAL, instalments=256),
    ],
    ids=["cents", "day", "period", "instalments"],
)
def test_what_does_not_fit_is_kept_as_text(held: Reservation) -> None:
    standing, _, text = entry_of(Standing.RELEASED, held).decode().partition(" ")
    assert standing == "-1"
    assert Reservation.parse("event", text) == held


def test_a_text_is_known_by_its_first_byte() -> None:
    usual = set(Standing) - {Standing.CANCELLED}  # releases that know no such standing take its text for a released one
    assert {entry_of(standing, USUAL)[0] for standing in usual} == {1, 2}
    assert entry_of(Standing.CANCELLED, USUAL).startswith(b"-2 ")
    assert all(entry_of(standing, replace(USUAL, cents=2**32))[0] > 2 for standing in Standing)


def test_names_are_sixteen_bytes_and_differ() -> None:
    names = {name_of(f"event-{number}") for number in range(10_000)}
    assert len(names) == 10_000
    assert {len(name) for name in names} == {16}


def test_no_event_can_be_called_as_another_is_named() -> None:
    """Purchases of before they had names stand under their ids: an id of the same bytes as a name would be taken for
    that purchase."""
    for number in range(1_000):
        with pytest.raises(UnicodeDecodeError):
            name_of(f"event-{number}").decode()
