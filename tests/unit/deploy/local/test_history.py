from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from deploy.local.history import Beginning, BeginningSettings, HistorySettings


def test_a_new_stack_gets_a_past_that_ends_yesterday(tmp_path: Path) -> None:
    settings = BeginningSettings(history_days=100, history_daily=50, seed=7)
    first, last = settings.history
    assert (last - first).days == 99
    beginning = Beginning(tmp_path, settings, new=True)
    assert beginning.needed
    assert beginning.arguments == ["history", "--start", str(first), "--end", str(last), "--daily", "50", "--seed", "7"]


def test_one_that_was_interrupted_goes_on_with_what_it_began(tmp_path: Path) -> None:
    begun = Beginning(tmp_path, BeginningSettings(history_days=100), new=True).arguments
    again = Beginning(tmp_path, BeginningSettings(history_days=0), new=False)
    assert again.needed and again.arguments == begun


@pytest.mark.parametrize(("days", "new"), [(100, False), (0, True)], ids=["it has purchases", "it is to have none"])
def test_nothing_is_brought_in_later_or_where_it_is_not_wanted(tmp_path: Path, days: int, new: bool) -> None:
    assert not Beginning(tmp_path, BeginningSettings(history_days=days), new=new).needed


@pytest.mark.parametrize("days", [-1, 1, 89, 367])
def test_too_few_days_to_learn_from_are_refused(days: int) -> None:
    for kind in (HistorySettings, BeginningSettings):
        with pytest.raises(ValidationError, match="history_days"):
            kind(history_days=days)
    with pytest.raises(ValidationError, match="history_days"):
        HistorySettings(history_days=0)
