"""Whether two runs found the same: every ratio of the one beside that of the other. What each took depends on the
machine and its hour; how ours stands to a peer or a limit of the same run should not."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.table import Table

WITHIN = 0.15
RATIOS = ("ratio", "of_limit")

Line = Mapping[str, Any]
"""Of out/bench.json."""


@dataclass(frozen=True)
class Compared:
    """One ratio of two runs."""

    name: str
    beside: str
    """The peer or the limit."""
    earlier: float
    later: float

    @property
    def apart(self) -> float:
        """Share of the smaller one that the larger one lies above it."""
        low, high = sorted((self.earlier, self.later))
        return high / low - 1 if low > 0 else float(high != low)

    @property
    def agree(self) -> bool:
        return self.apart <= WITHIN


def compared(earlier: Sequence[Line], later: Sequence[Line]) -> list[Compared]:
    """Of what both have: a run of some of the benchmarks is compared in these alone."""
    before = dict(_ratios(earlier))
    return [Compared(*key, before[key], ratio) for key, ratio in _ratios(later) if key in before]


def _ratios(lines: Iterable[Line]) -> Iterator[tuple[tuple[str, str], float]]:
    """A limit stands beside several peers of one name: each time it is the same."""
    for line in lines:
        for figure, beside in zip(RATIOS, ("peer_name", "limit_name"), strict=True):
            if line[figure] is not None:
                yield (line["name"], line[beside]), line[figure]


def table(of: Sequence[Compared]) -> Table:
    """The furthest apart first."""
    agreed = sum(each.agree for each in of)
    shown = Table(title=f"{agreed} of {len(of)} ratios agree within {WITHIN:.0%}")
    for heading in ("what", "beside", "earlier", "now", "apart"):
        shown.add_column(heading, justify="left" if heading in ("what", "beside") else "right")
    for each in sorted(of, key=lambda each: -each.apart):
        shown.add_row(
            each.name, each.beside, f"{each.earlier:.3g}", f"{each.later:.3g}",
            f"{each.apart:.0%}" + ("" if each.agree else " !"),
        )  # fmt: skip
    return shown
