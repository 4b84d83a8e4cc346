"""Who goes first where cores are short."""

from __future__ import annotations

import os

MIRRORS = frozenset({"sink", "bigquery", "ledger", "console", "trainer"})
"""What copies, checks, shows and learns from what was decided."""


def yielding(name: str) -> list[str]:
    """How to start a process: on a machine that is short of cores, whoever decides goes before whoever mirrors.

    Not where FLIT_YIELDING is `off` in the environment. Who yields has a tenth of the share of each process that
    doesn't: beside one system's that is enough, beside those of several at once he neither starts nor answers in time.
    """
    return ["nice", "-n", "10"] if name in MIRRORS and os.environ.get("FLIT_YIELDING") != "off" else []
