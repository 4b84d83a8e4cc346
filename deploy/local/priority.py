"""Who goes first where cores are short."""

from __future__ import annotations

MIRRORS = frozenset({"sink", "bigquery", "ledger", "console"})
"""What copies, checks and shows what was decided."""


def yielding(name: str) -> list[str]:
    """How to start a process: on a machine that is short of cores, whoever decides goes before whoever mirrors."""
    return ["nice", "-n", "10"] if name in MIRRORS else []
