"""The rolling windows: trailing, in event time, the purchase itself not in it.

A window of length W and hop h at time t is [floor(t - W, h), t]: its left edge lies on a hop, so that a purchase can be
counted in a tile of that width and still be in or out as a whole. Purchases of the very same time are in it where they
were logged earlier.
"""

from __future__ import annotations

from dataclasses import dataclass

MICROS_PER_SECOND = 1_000_000
MICROS_PER_HOUR = 3600 * MICROS_PER_SECOND
MICROS_PER_DAY = 24 * MICROS_PER_HOUR


@dataclass(frozen=True, slots=True)
class Window:
    label: str
    length_us: int
    hop_us: int

    def first_tile(self, t_us: int) -> int:
        """Number of the oldest tile (of width `hop_us`, counted from 1970) that is in the window at `t_us`."""
        return (t_us - self.length_us) // self.hop_us

    def left_edge(self, t_us: int) -> int:
        """Microseconds since 1970 from which on purchases are in the window."""
        return self.first_tile(t_us) * self.hop_us


WINDOWS: tuple[Window, ...] = (
    Window("1h", MICROS_PER_HOUR, 60 * MICROS_PER_SECOND),
    Window("24h", MICROS_PER_DAY, 15 * 60 * MICROS_PER_SECOND),
    Window("7d", 7 * MICROS_PER_DAY, MICROS_PER_HOUR),
    Window("30d", 30 * MICROS_PER_DAY, MICROS_PER_DAY),
)
"""From short to long. Each left edge lies before that of the shorter one: one pass over time serves all of them."""


def day_of(t_us: int) -> int:
    """Days since 1970-01-01, UTC."""
    return t_us // MICROS_PER_DAY


NIGHT_HOURS = range(6)
"""UTC hours that count as night: orders placed then are rarer and riskier in card fraud practice."""


def is_night(t_us: int) -> bool:
    return t_us // MICROS_PER_HOUR % 24 in NIGHT_HOURS
