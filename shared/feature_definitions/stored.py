"""A customer's state as bytes: MessagePack arrays, smallest where most customers are (a few purchases, no tiles)."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar

import msgspec

from shared.feature_definitions.tiles import Tiles
from shared.feature_definitions.totals import Money, Purchase, Totals

if TYPE_CHECKING:
    from shared.feature_definitions.state import CustomerState

LAYOUT = 1
"""Raise it with any change of what is stored: states of another layout are refused, and rebuilt from the log."""


class LayoutMismatch(Exception):
    """The bytes were written by another version of this module."""


class _Wide(NamedTuple):
    """Money whose squares have outgrown the integers of MessagePack: two thousand purchases at the cap, in a currency
    of three decimals. A state that holds any has all of its money so."""

    n: int
    total: int
    squares: bytes
    """Big-endian."""
    largest: int


M = TypeVar("M", Money, _Wide)


class _Tile(msgspec.Struct, Generic[M], array_like=True):
    number: int
    n: int
    nights: int
    categories: int
    devices: list[int]
    methods: list[int]
    money: dict[str, M]


class _Stored(msgspec.Struct, Generic[M], array_like=True):
    layout: int
    purchases: list[Purchase]
    seen: dict[int, int]
    outcomes: dict[int, tuple[int, bool]]
    known: dict[int, tuple[int, int]]
    settled: tuple[int, int] = (0, 0)
    folded_until_us: int | None = None
    tiles: list[list[_Tile[M]]] = []
    due: list[tuple[str, int, int]] = []


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(_Stored[Money])
_wide_decoder = msgspec.msgpack.Decoder(_Stored[_Wide])


def dump(state: CustomerState) -> bytes:
    """Bytes of a state; canonical, since every part has one order."""
    stored = _Stored(
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
    try:
        return _encoder.encode(stored)
    except OverflowError:
        wide = [[_with_money(tile, _widened) for tile in tiles] for tiles in stored.tiles]
        return _encoder.encode(msgspec.structs.replace(stored, tiles=wide))


def load(state: CustomerState, data: bytes) -> None:
    """Fill an empty state from bytes. Raises LayoutMismatch."""
    held: _Stored[Any]
    try:
        held = _decoder.decode(data)
    except msgspec.DecodeError as error:
        held = _wide(data, error)
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


def _wide(data: bytes, error: msgspec.DecodeError) -> _Stored[Any]:
    """`error`: why it isn't stored as most are. Raises LayoutMismatch."""
    try:
        held: _Stored[Any] = _wide_decoder.decode(data)
    except msgspec.DecodeError:
        raise LayoutMismatch(str(error)) from None
    tiles = [[_with_money(tile, _narrowed) for tile in tiles] for tiles in held.tiles]
    return msgspec.structs.replace(held, tiles=tiles)


def _with_money(tile: _Tile[Any], changed: Callable[[Any], Any]) -> _Tile[Any]:
    return msgspec.structs.replace(tile, money={name: changed(money) for name, money in tile.money.items()})


def _widened(money: Money) -> _Wide:
    squares = money.squares.to_bytes((money.squares.bit_length() + 7) // 8, "big")
    return _Wide(money.n, money.total, squares, money.largest)


def _narrowed(money: _Wide) -> Money:
    return Money(money.n, money.total, int.from_bytes(money.squares, "big"), money.largest)


def _tile(number: int, totals: Totals) -> _Tile[Money]:
    return _Tile(
        number,
        totals.n,
        totals.nights,
        totals.categories,
        sorted(totals.devices),
        sorted(totals.methods),
        dict(sorted(totals.money.items())),
    )


def _totals(tile: _Tile[Money]) -> Totals:
    totals = Totals()
    totals.n, totals.nights, totals.categories = tile.n, tile.nights, tile.categories
    totals.devices, totals.methods, totals.money = set(tile.devices), set(tile.methods), tile.money
    return totals
