"""States as Redis holds them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.feature_definitions import CustomerState
from shared.feature_definitions.stored import LayoutMismatch
from shared.feature_state.packing import packed, unpacked
from tests import factories


@given(st.binary(max_size=3000))
def test_what_was_packed_comes_out_again(state: bytes) -> None:
    assert unpacked(packed(state)) == state


@given(st.binary(max_size=300))
def test_no_bytes_make_it_fail(value: bytes) -> None:
    for each in (value, b"\x01" + value):
        assert isinstance(unpacked(each), bytes)


def test_a_state_from_before_they_were_packed_is_read_as_it_is() -> None:
    plain = bought(30).encode()
    assert unpacked(plain) == plain


@pytest.mark.parametrize(
    "value",
    [
        packed(b"a state")[:-2],
        b"\x01" + (1 << 31).to_bytes(4, "little") + b"a block that asks for two gigabytes",
        b"\x01",
    ],
)
def test_what_is_no_state_is_refused_by_who_reads_states(value: bytes) -> None:
    with pytest.raises(LayoutMismatch):
        CustomerState.decode(unpacked(value))


def test_a_state_of_thirty_purchases_takes_two_thirds_of_the_room() -> None:
    plain = bought(30).encode()
    assert len(packed(plain)) < 0.7 * len(plain)


def test_the_same_state_has_the_same_bytes() -> None:
    assert packed(bought(30).encode()) == packed(bought(30).encode())


def bought(count: int) -> CustomerState:
    state = CustomerState()
    for number in range(count):
        state.add_purchase(factories.accepted(number, t_us=factories.START_US + number * factories.DAY_US))
    return state
