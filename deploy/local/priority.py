"""Who goes first where cores are short."""

from __future__ import annotations

MIRRORS = frozenset({"sink", "bigquery", "ledger", "console", "trainer"})
"""What copies, checks, shows and learns from what was decided."""


def yielding(name: str) -> list[str]:
    """How to start a process: on a machine that is short of cores, whoever decides goes before whoever mirrors."""
    return ["nice", "-n", "10"] if name in MIRRORS else []
