"""A short selection of `make chaos`: a few faults on one running system, and a control that the ledger has to catch."""

from __future__ import annotations

import json

import pytest
from rich.console import Console

from tests.chaos.__main__ import Run, control, faults
from tests.chaos.faults import BY_NAME

SEED = 7
QUIET = Run(Console(quiet=True), 1.0)
RATE = 40
"""Purchases a second: other tests run beside this one, on the same two cores."""
SELECTION = ("terminate-features", "bad-inputs", "lose-warehouse-answers")


@pytest.mark.timeout(400)
async def test_the_ledger_balances_after_each_of_a_few_faults() -> None:
    rows = await faults([BY_NAME[name] for name in SELECTION], SEED, QUIET, rate=RATE)
    assert {row["fault"] for row in rows} == set(SELECTION)
    assert all(row["passed"] for row in rows), json.dumps(rows, indent=1)


@pytest.mark.timeout(300)
@pytest.mark.slow
async def test_without_acknowledgements_the_ledger_does_not_balance() -> None:
    row = await control("no-acknowledgements", SEED, QUIET, rate=RATE)
    assert row["passed"], json.dumps(row, indent=1)
