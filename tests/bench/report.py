"""What a benchmark found: ours beside a peer and a limit, of the same run."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import median

from rich.table import Table


@dataclass(frozen=True)
class Finding:
    """One line of `out/bench.json`. `ours`, `peer`, `limit`: medians over the rounds."""

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


def finding(
    name: str,
    unit: str,
    ours: Sequence[float],
    *,
    peer: tuple[str, Sequence[float]] | None = None,
    limit: tuple[str, Sequence[float]] | None = None,
) -> Finding:
    """Medians, and ratios round by round: rounds lie next to each other in time, so a slow minute hits both."""
    found = Finding(name, unit, median(ours), rounds=tuple(ours))
    if peer is not None:
        found = replace(found, peer_name=peer[0], peer=median(peer[1]), ratio=_ratio(ours, peer[1]))
    if limit is not None:
        found = replace(found, limit_name=limit[0], limit=median(limit[1]), of_limit=_ratio(ours, limit[1]))
    return found


def _ratio(ours: Sequence[float], others: Sequence[float]) -> float:
    return median(one / other for one, other in zip(ours, others, strict=True))


def write(found: Sequence[Finding], path: Path) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps([asdict(each) for each in found], indent=2) + "\n")


def table(found: Sequence[Finding]) -> Table:
    shown = Table(title="benchmarks")
    for heading in ("what", "unit", "ours", "spread", "peer", "", "ratio", "limit", "", "of it"):
        shown.add_column(heading, justify="left" if heading in ("what", "unit", "peer", "limit") else "right")
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
        )
    return shown


def _short(number: float | None) -> str:
    if number is None:
        return ""
    return f"{number:,.0f}" if abs(number) >= 100 else f"{number:.3g}"
