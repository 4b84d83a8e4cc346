"""A customer's state as bytes: MessagePack arrays, smallest where most customers are (a few purchases, no tiles)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from shared.feature_definitions.tiles import Tiles
from shared.feature_definitions.totals import Money, Purchase, Totals

if TYPE_CHECKING:
    from shared.feature_definitions.state import CustomerState

LAYOUT = 1
"""Raise it with any change of what is stored: states of another layout are refused, and rebuilt from the log."""


class LayoutMismatch(Exception):
    """The bytes were written by another version of this module."""


class _Tile(msgspec.Struct, array_like=True):
    number: int
    n: int
    nights: int
    categories: int
    devices: list[int]
    methods: list[int]
    money: dict[str, Money]


class _Stored(msgspec.Struct, array_like=True):
    layout: int
    purchases: list[Purchase]
    seen: dict[int, int]
    outcomes: dict[int, tuple[int, bool]]
    known: dict[int, tuple[int, int]]
    settled: tuple[int, int] = (0, 0)
    folded_until_us: int | None = None
    tiles: list[list[_Tile]] = []
    due: list[tuple[str, int, int]] = []


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(_Stored)


def dump(state: CustomerState) -> bytes:
    """Bytes of a state; canonical, since every part has one order."""
    return _encoder.encode(
        _Stored(
            LAYOUT,
            state.purchases,
            state.seen,
            state.outcomes,
            dict(sorted(state.known.items())),
            state.settled,
            state.folded_until_us,
            [[_tile(number, totals) for number, totals in sorted(tiles.items())] for tiles in state.tiles],
            [(currency, day, minor) for (currency, day), minor in sorted(state.due.items())],
        )
    )


def load(state: CustomerState, data: bytes) -> None:
    """Fill an empty state from bytes. Raises LayoutMismatch."""
    try:
        held = _decoder.decode(data)
    except msgspec.DecodeError as error:
        raise LayoutMismatch(str(error)) from None
    if held.layout != LAYOUT:
        raise LayoutMismatch(f"layout {held.layout}, this code reads {LAYOUT}")
    state.purchases = held.purchases
    state.seen = held.seen
    state.outcomes = held.outcomes
    state.known = held.known
    state.settled = held.settled
    state.folded_until_us = held.folded_until_us
    state.tiles = [Tiles((tile.number, _totals(tile)) for tile in tiles) for tiles in held.tiles]
    state.due = {(currency, day): minor for currency, day, minor in held.due}


def _tile(number: int, totals: Totals) -> _Tile:
    return _Tile(
        number,
        totals.n,
        totals.nights,
        totals.categories,
        sorted(totals.devices),
        sorted(totals.methods),
        dict(sorted(totals.money.items())),
    )


def _totals(tile: _Tile) -> Totals:
    totals = Totals()
    totals.n, totals.nights, totals.categories = tile.n, tile.nights, tile.categories
    totals.devices, totals.methods, totals.money = set(tile.devices), set(tile.methods), tile.money
    return totals
