"""The totals of folded purchases by tile, and their sum over all tiles from any one on, without adding them up anew.

Totals can't be taken away from (the largest amount, the distinct devices), so a window that moves on is kept as two
stacks ("two-stack queue", as in Tangwongsan, Hirzel, Schneider: General incremental sliding-window aggregation, VLDB
2015): in front, of each older tile the sum from it to the last one in front; behind, one sum of what came later. When
the window has left the front behind, all tiles but the latest go to the front. So a tile is added up once or twice in
its life, however many purchases see it.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping

from shared.feature_definitions.totals import Purchase, Totals


class _Sums:
    """Of all tiles, as they were when it was made, and of what was added to the latest and to later ones since."""

    __slots__ = ("_behind", "_front", "_numbers", "seam")

    def __init__(self, tiles: Mapping[int, Totals]) -> None:
        """`tiles`: at least one."""
        *self._numbers, self.seam = sorted(tiles)
        """Of the tiles in front, ascending; the latest one's number. Of those in front some may be dropped meanwhile:
        nobody asks from there on any more."""
        running = Totals()
        self._front: list[Totals] = []
        """From each of these to the last of them."""
        for number in reversed(self._numbers):
            running.merge(tiles[number])
            self._front.append(running.copy())
        self._front.reverse()
        self._behind = tiles[self.seam].copy()

    def add(self, purchase: Purchase) -> None:
        """Of the latest tile, or of a later one."""
        self._behind.add(purchase)

    def from_on(self, first: int) -> Totals:
        """`first`: no later than the seam."""
        found = self._behind.copy()
        place = bisect_left(self._numbers, first)
        if place < len(self._numbers):
            found.merge(self._front[place])
        return found


class Tiles(dict[int, Totals]):
    """Tile number → totals of the folded purchases in it."""

    # Of the class, so that the many states that are read for one purchase don't pay for them.
    _sums: _Sums | None = None
    _asked = False
    """Whether a sum was asked for before: the first is added up as it is, for it may stay the only one."""
    _dropped_before: int | None = None
    """No tile lies before this number, as far as is known."""

    def add(self, number: int, purchase: Purchase) -> None:
        tile = self.get(number)
        if tile is None:
            tile = self[number] = Totals()
        tile.add(purchase)
        if self._dropped_before is not None and number < self._dropped_before:
            self._dropped_before = None
        if self._sums is not None:
            if number >= self._sums.seam:
                self._sums.add(purchase)
            else:
                self._sums = None

    def drop_before(self, first: int) -> None:
        """Forget the tiles that lie before `first`."""
        if first == self._dropped_before:
            return
        self._dropped_before = first
        for number in [number for number in self if number < first]:
            del self[number]

    def sum_from(self, first: int) -> Totals | None:
        """The sum of the tiles from `first` on, for the caller to keep; None where there are none."""
        if self._sums is None or first > self._sums.seam:
            if not self or first > max(self):
                return None
            if not self._asked:
                self._asked = True
                return self._added_up(first)
            self._sums = _Sums(self)
        return self._sums.from_on(first)

    def _added_up(self, first: int) -> Totals:
        found = Totals()
        for number, tile in self.items():
            if number >= first:
                found.merge(tile)
        return found
