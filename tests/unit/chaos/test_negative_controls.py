"""Which of the ledger's checks a control has to break, and that its safeguard is really gone."""

from __future__ import annotations

import pytest

from services.scorer.claims import ANY_BODY, Claim, ClaimStore
from services.sink.bigquery import PartitionWriter
from tests.chaos.__main__ import INVARIANTS
from tests.chaos.controls import sitecustomize
from tests.chaos.negative_controls import CONTROLS

WELL: dict[str, bool | None] = dict.fromkeys(INVARIANTS, True)


@pytest.mark.parametrize("name", CONTROLS)
def test_a_control_is_caught_by_the_checks_that_it_names_and_by_no_others(name: str) -> None:
    control = CONTROLS[name]
    broken = WELL | dict.fromkeys(control.breaks, False)
    assert control.breaks
    assert control.missed(broken) == []
    for each in control.breaks:
        assert control.missed(broken | {each: True}) == [each]
        assert control.missed(broken | {each: None}) == [each]
    others = {each: each in control.breaks for each in INVARIANTS}
    assert control.missed(others) == list(control.breaks)


def test_a_report_that_lacks_the_check_has_missed_it() -> None:
    assert CONTROLS["no-claims"].missed({}) == ["P2"]


def test_each_control_has_its_switch_in_the_service_that_it_names() -> None:
    assert {name: control.service for name, control in CONTROLS.items()} == {
        name: service for name, (service, _) in sitecustomize.CONTROLS.items()
    }


async def test_without_claims_each_decision_stands(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ClaimStore, "claim", ClaimStore.claim)
    sitecustomize.CONTROLS["no-claims"][1]()
    wanted = [Claim("e1", ANY_BODY, b"{}")]
    store = ClaimStore.__new__(ClaimStore)  # it must not ask Redis, of which it has none
    assert await store.claim(wanted) == wanted


def test_without_its_last_row_a_table_counts_as_empty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PartitionWriter, "_last_row", PartitionWriter._last_row)
    sitecustomize.CONTROLS["no-last-row"][1]()
    assert PartitionWriter.__new__(PartitionWriter)._last_row() == (-1, None, None)
