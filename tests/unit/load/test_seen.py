"""What clients saw, against the objectives that the alerts go by."""

from __future__ import annotations

from tests.load.publisher import answer_of, line_of
from tests.load.purchases import Purchases
from tests.load.seen import CHECKOUT, PUBLISH, Seen, objective


def seen(failures: int = 0, late: int = 0, requests: int = 10_000) -> Seen:
    return Seen(CHECKOUT, requests, failures, {20.0: requests - late, 250.0: late})


def test_the_time_that_a_checkout_may_take_is_that_of_the_alert() -> None:
    assert objective("CheckoutSlow").bound_s == 0.1


def test_a_run_within_both_budgets_keeps_both_objectives() -> None:
    assert all(each.held for each in seen(failures=5, late=100).kept())


def test_one_failure_too_many_breaks_the_objective_of_answers() -> None:
    fails, slow = seen(failures=6).kept()
    assert (fails.objective.alert, fails.held, slow.held) == ("CheckoutFails", False, True)


def test_one_late_answer_too_many_breaks_the_objective_of_time() -> None:
    fails, slow = seen(late=101).kept()
    assert (slow.objective.alert, slow.held, fails.held) == ("CheckoutSlow", False, True)


def test_a_run_that_asked_nothing_keeps_nothing() -> None:
    assert not any(each.held for each in Seen(CHECKOUT, 0, 0, {}).kept())


def test_a_percentile_is_the_time_of_the_answer_at_its_rank() -> None:
    some = Seen(CHECKOUT, 100, 0, {10.0: 98, 70.0: 1, 900.0: 1})
    assert [some.percentile_ms(share) for share in (0.5, 0.98, 0.99, 1.0)] == [10.0, 10.0, 70.0, 900.0]


def test_a_checkout_that_was_due_and_never_asked_is_late_and_has_not_failed() -> None:
    fails, slow = Seen(CHECKOUT, 9_900, 0, {20.0: 9_900, 4_000.0: 100}, missed=100).kept()
    assert (fails.events, fails.bad, slow.events, slow.bad) == (9_900, 0, 10_000, 100)
    assert slow.held and not Seen(CHECKOUT, 9_899, 0, {20.0: 9_899, 4_000.0: 101}, missed=101).kept()[1].held


def test_nothing_that_was_asked_is_no_producer_that_was_late() -> None:
    assert not Seen(PUBLISH, 0, 0, {}).acknowledged_late()


def test_what_was_seen_comes_back_from_json() -> None:
    assert Seen.of(seen(failures=3, late=7).as_json()) == seen(failures=3, late=7)
    held_up = Seen(PUBLISH, 5, 1, {3.0: 5, 2500.0: 2}, missed=2)
    assert Seen.of(held_up.as_json()) == held_up


def test_a_record_survives_the_way_to_the_publisher_and_back() -> None:
    purchase = next(Purchases())
    line = line_of(purchase.id, purchase.customer, purchase.body)
    assert line.count(b"\n") == 1
    assert line.rstrip(b"\n").split(b"\t") == [purchase.id.encode(), purchase.customer.encode(), purchase.body]
    assert answer_of(b"a-1\tMessageSizeTooLargeError: of 3 MB\n") == ("a-1", "MessageSizeTooLargeError: of 3 MB")


def test_no_two_loads_make_the_same_purchase() -> None:
    first, second = Purchases(), Purchases()
    ids = [next(each).id for each in (first, second) for _ in range(50)]
    assert len(set(ids)) == 100
