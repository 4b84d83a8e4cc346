"""What a benchmark found: ours beside a peer and a limit, of the same run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from statistics import median
from typing import Any, Literal

from rich.table import Table

Figure = Literal["ours", "ratio", "of_limit"]


@dataclass(frozen=True)
class Target:
    """What one figure of a finding is to reach."""

    figure: Figure
    bound: float
    at_most: bool = False
    """Where less is better. Otherwise it is to be no less."""

    def met_by(self, reached: float) -> bool:
        return reached <= self.bound if self.at_most else reached >= self.bound


def at_least(figure: Figure, bound: float) -> Target:
    return Target(figure, bound)


def at_most(figure: Figure, bound: float) -> Target:
    return Target(figure, bound, at_most=True)


@dataclass(frozen=True)
class Finding:
    """One line of `out/bench.json` (but for its targets). `ours`, `peer`, `limit`: medians over the rounds."""

    name: str
    unit: str
    ours: float
    peer_name: str | None = None
    peer: float | None = None
    ratio: float | None = None
    """Ours to the peer's."""
    limit_name: str | None = None
    limit: float | None = None
    of_limit: float | None = None
    """Ours to the limit."""
    rounds: tuple[float, ...] = ()
    """Ours, round by round: how far they lie apart says how far the median can be trusted."""
    targets: tuple[Target, ...] = ()
    """Of the code that measures, not of the measurement: shown in the table, and not in the file."""


def finding(
    name: str,
    unit: str,
    ours: Sequence[float],
    *,
    peer: tuple[str, Sequence[float]] | None = None,
    limit: tuple[str, Sequence[float]] | None = None,
    bound: tuple[str, float] | None = None,
    targets: Sequence[Target] = (),
) -> Finding:
    """Medians, and ratios round by round: rounds lie next to each other in time, so a slow minute hits both.

    `bound`: in place of a limit, one that nothing is divided by. The slowest of many answers, or a tail beside another
    tail, is met or missed; what share of it was used says nothing that would be the same tomorrow.
    """
    found = Finding(name, unit, median(ours), rounds=tuple(ours), targets=tuple(targets))
    if bound is not None:
        found = replace(found, limit_name=bound[0], limit=bound[1])
    if peer is not None:
        found = replace(found, peer_name=peer[0], peer=median(peer[1]), ratio=_ratio(ours, peer[1]))
    if limit is not None:
        found = replace(found, limit_name=limit[0], limit=median(limit[1]), of_limit=_ratio(ours, limit[1]))
    return found


def _ratio(ours: Sequence[float], others: Sequence[float]) -> float:
    return median(one / other for one, other in zip(ours, others, strict=True))


def lines_of(found: Sequence[Finding]) -> list[dict[str, Any]]:
    """As out/bench.json has them."""
    return [{name: value for name, value in asdict(each).items() if name != "targets"} for each in found]


def table(found: Sequence[Finding]) -> Table:
    shown = Table(title="benchmarks")
    for heading in ("what", "unit", "ours", "spread", "peer", "", "ratio", "limit", "", "of it", "target"):
        left = heading in ("what", "unit", "peer", "limit", "target")
        shown.add_column(heading, justify="left" if left else "right")
    for each in found:
        shown.add_row(
            each.name,
            each.unit,
            _short(each.ours),
            f"{_short(min(each.rounds))}–{_short(max(each.rounds))}" if each.rounds else "",
            each.peer_name or "",
            _short(each.peer),
            _short(each.ratio),
            each.limit_name or "",
            _short(each.limit),
            _short(each.of_limit),
            "\n".join(_in_words(target, each) for target in each.targets),
        )
    return shown


_OF = {"ours": "", "ratio": " × peer", "of_limit": " of limit"}


def _in_words(target: Target, found: Finding) -> str:
    """Raises TypeError for a target of a figure that the finding doesn't have."""
    reached = getattr(found, target.figure)
    sign = "≤" if target.at_most else "≥"
    return f"{sign} {_short(target.bound)}{_OF[target.figure]}: {'met' if target.met_by(reached) else 'missed'}"


def _short(number: float | None) -> str:
    if number is None:
        return ""
    return f"{number:,.0f}" if abs(number) >= 100 else f"{number:.3g}"
