"""What a reconciliation says of offsets and rows, and how it says it."""

from __future__ import annotations

from rich.console import Console

from services.sink.reconcile import SHOWN, Balance, compare
from services.sink.report import print_report


def balance() -> Balance:
    return Balance("flit_ml_raw.features", "bnpl-features", 1, first=0, end=10, behind=0, records=4)


def test_rows_that_match_their_records_balance() -> None:
    account = balance()
    compare(account, {0: ("a", 5), 1: ("b", 6)}, [(1, ("b", 6)), (0, ("a", 5))])
    assert account.balanced
    assert account.rows == 2


def test_each_kind_of_fault_is_told_from_the_others() -> None:
    account = balance()
    records = {0: ("a", 5), 1: ("b", 5), 2: ("c", 5)}
    compare(account, records, [(1, ("b", 5)), (1, ("b", 5)), (2, ("z", 5)), (7, ("g", 5))])
    assert not account.balanced
    assert (account.missing, account.doubled, account.wrong, account.unexpected) == ([0], [1], [2], [7])
    assert account.rows == 4


def test_a_row_whose_record_came_at_another_time_is_wrong_whether_it_has_an_event_or_not() -> None:
    account = balance()
    records = {0: ("a", 5), 1: (None, 6), 2: (None, 7)}
    compare(account, records, [(0, ("a", 4)), (1, (None, 5)), (2, (None, 7))])
    assert (account.wrong, account.missing, account.unexpected) == ([0, 1], [], [])


def test_a_row_that_may_be_there_or_not_is_no_fault_unless_it_is_wrong_or_there_twice() -> None:
    account = balance()
    records = dict.fromkeys(range(4), ("a", 5))
    compare(account, records, [(1, ("a", 5)), (2, ("z", 5)), (3, ("a", 5)), (3, ("a", 5))], frozenset(range(4)))
    assert (account.missing, account.unexpected, account.wrong, account.doubled) == ([], [], [2], [3])


def test_of_many_faults_the_first_are_named_and_all_are_counted() -> None:
    account = balance()
    compare(account, dict.fromkeys(range(100), ("e", 5)), [])
    assert account.faults() == f"100 missing: {', '.join(map(str, range(SHOWN)))} …"


def test_the_report_names_the_account_that_does_not_balance() -> None:
    console = Console(width=140)
    wrong, right = balance(), balance()
    wrong.missing.append(3)
    with console.capture() as shown:
        print_report([wrong, right], console)
    assert "1 missing: 3" in shown.get()
    assert "1 of 2 accounts don't balance" in shown.get()
    with console.capture() as shown:
        print_report([right], console)
    assert "every record has its row" in shown.get()
