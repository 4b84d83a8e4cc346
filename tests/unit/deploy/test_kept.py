"""Objectives between two looks at metrics: the same shares that the alert rules go by."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator

import pytest

from deploy.monitoring.kept import Look, kept, look
from deploy.monitoring.objectives import OBJECTIVES

BY_NAME = {objective.alert: objective for objective in OBJECTIVES}


def a_look(*samples: tuple[str, dict[str, str], float], where: str = "scorer") -> Look:
    return {(where, metric, frozenset(labels.items())): value for metric, labels, value in samples}


def answers(ok: float, failed: float, refused: float = 0.0) -> Look:
    return a_look(
        ("flit_scorer_checkouts_total", {"status": "200"}, ok),
        ("flit_scorer_checkouts_total", {"status": "503"}, failed),
        ("flit_scorer_checkouts_total", {"status": "422"}, refused),
    )


def test_errors_within_the_budget_keep_the_objective() -> None:
    (found,) = kept(answers(100, 50), answers(10_100, 55), [BY_NAME["CheckoutFails"]])
    assert (found.events, found.bad) == (10_005, 5)
    assert found.held


def test_errors_beyond_the_budget_break_it() -> None:
    (found,) = kept(answers(100, 50), answers(10_100, 56), [BY_NAME["CheckoutFails"]])
    assert not found.held


def test_a_refused_body_is_neither_good_nor_bad_of_the_service() -> None:
    (found,) = kept(answers(0, 0), answers(10, 1, refused=90), [BY_NAME["CheckoutFails"]])
    assert (found.events, found.bad) == (11, 1)


def test_what_is_above_the_bound_of_a_histogram_is_bad() -> None:
    def seconds(within: float, everything: float) -> Look:
        return a_look(
            ("flit_decision_seconds_bucket", {"channel": "rest", "le": "0.1"}, within),
            ("flit_decision_seconds_bucket", {"channel": "rest", "le": "+Inf"}, everything),
            ("flit_decision_seconds_count", {"channel": "rest"}, everything),
            ("flit_decision_seconds_count", {"channel": "stream"}, 1000 * everything),
        )

    (found,) = kept(seconds(0, 0), seconds(985, 1000), [BY_NAME["CheckoutSlow"]])
    assert (found.events, found.bad) == (1000, 15)
    assert not found.held


def test_only_a_filled_label_counts_where_an_empty_one_is_the_good_case() -> None:
    after = a_look(
        ("flit_decisions_total", {"degraded": ""}, 999.0),
        ("flit_decisions_total", {"degraded": "no_model"}, 1.0),
    )
    (found,) = kept({}, after, [BY_NAME["DecisionsDegraded"]])
    assert (found.events, found.bad) == (1000, 1)
    assert found.held


def test_a_counter_that_began_anew_counts_from_nought() -> None:
    (found,) = kept(answers(5000, 0), answers(200, 0), [BY_NAME["CheckoutFails"]])
    assert found.events == 200


def test_where_nothing_was_counted_nothing_is_held() -> None:
    (found,) = kept({}, {}, [BY_NAME["RowsLate"]])
    assert found.good_share is None
    assert not found.held


EXPOSITION = b"""# TYPE flit_scorer_checkouts counter
flit_scorer_checkouts_total{status="200"} 7.0
"""


@pytest.fixture
def address() -> Iterator[str]:
    class Metrics(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(EXPOSITION)

        def log_message(self, *_: object) -> None:
            return

    with http.server.HTTPServer(("127.0.0.1", 0), Metrics) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/metrics"
        server.shutdown()


def test_a_look_holds_what_the_services_serve(address: str) -> None:
    (found,) = kept({}, look([address]), [BY_NAME["CheckoutFails"]])
    assert (found.events, found.bad) == (7, 0)
