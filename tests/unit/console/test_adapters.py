"""The scorer's door, other services' commands, and their operations ports, as the console uses them."""

from __future__ import annotations

import json
import os
import socket
import sys
from collections.abc import Callable

import httpx
import pytest

from services.console import commands, probing
from services.console.scorer import Scorer, ScorerAway, ScorerRefused, Standing
from shared.telemetry.operations import OperationsServer

Handler = Callable[[httpx.Request], httpx.Response]


def scorer(handler: Handler, key: str | None = None) -> Scorer:
    return Scorer("http://scorer", key, httpx.MockTransport(handler))


def refusing(status: int, reason: str) -> Handler:
    return lambda request: httpx.Response(status, json={"reason": reason, "detail": "in words", "status": status})


def test_a_verdict_sent_twice_has_the_same_idempotency_key_and_another_events_has_another() -> None:
    sent: list[httpx.Request] = []

    def take(request: httpx.Request) -> httpx.Response:
        sent.append(request)
        return httpx.Response(202, json={"actor": "anna"})

    door = scorer(take)
    for event in ("one", "one", "two", "x" * 128, "x" * 127):
        door.verdict(event, "approve", actor="anna", note=None, key="secret")
    keys = [request.headers["idempotency-key"] for request in sent]
    assert keys[0] == keys[1] and len(set(keys)) == 4
    assert all(len(key) <= 128 for key in keys)
    assert sent[0].headers["if-none-match"] == "*"
    assert sent[0].headers["authorization"] == "Bearer secret"
    assert json.loads(sent[0].content) == {"verdict": "approve", "actor": "anna"}


def test_a_promotion_names_the_model_that_it_replaces() -> None:
    def take(request: httpx.Request) -> httpx.Response:
        assert request.url.path == "/v1/models/b/promote"
        return httpx.Response(200, json={"if_match": request.headers.get("if-match")})

    assert scorer(take).promote("b", instead_of="a", key="k") == {"if_match": '"a"'}
    assert scorer(take).promote("b", instead_of=None, key="k") == {"if_match": None}


def test_a_rollback_names_the_model_that_is_to_go() -> None:
    def take(request: httpx.Request) -> httpx.Response:
        assert request.url.path == "/v1/models/rollback"
        return httpx.Response(200, json={"if_match": request.headers.get("if-match")})

    assert scorer(take).rollback(instead_of="a", key="k") == {"if_match": '"a"'}


@pytest.mark.parametrize(
    ("handler", "standing"),
    [
        (lambda request: httpx.Response(200, json={}), Standing.ADMINISTRATOR),
        (refusing(403, "scope"), Standing.OTHER),
        (refusing(401, "unauthorized"), Standing.UNKNOWN),
        (refusing(403, "forbidden"), Standing.UNKNOWN),
    ],
)
def test_a_keys_standing_is_what_the_door_says(handler: Handler, standing: Standing) -> None:
    assert scorer(handler).standing("k") is standing


def test_away_and_refused_are_told_apart_and_neither_says_the_key() -> None:
    def broken(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused")

    for handler in (
        broken,
        refusing(503, "overloaded"),
        refusing(502, ""),
        refusing(429, "rate"),
        refusing(409, "in-flight"),
    ):
        with pytest.raises(ScorerAway) as away:
            scorer(handler).cancel("e", note=None, key="secret")
        assert "secret" not in str(away.value)
    with pytest.raises(ScorerRefused) as refused:
        scorer(refusing(422, "conflict")).verdict("e", "approve", actor=None, note=None, key="secret")
    assert (refused.value.reason, str(refused.value)) == ("conflict", "in words")


def test_a_key_that_no_header_can_hold_is_no_crash() -> None:
    with pytest.raises(ScorerAway):
        scorer(lambda request: httpx.Response(200, json={})).standing("schlüssel→")


def test_a_decision_that_the_scorer_knows_and_one_that_it_does_not() -> None:
    def take(request: httpx.Request) -> httpx.Response:
        assert request.url.raw_path == b"/v1/decisions/a%2Fb"
        assert request.headers["authorization"] == "Bearer own"
        return httpx.Response(200, json={"decided_at": "2026-01-01T00:00:00Z"})

    assert scorer(take, "own").decision("a/b") == {"decided_at": "2026-01-01T00:00:00Z"}
    assert scorer(refusing(404, "not-found")).decision("e") is None


def test_no_explanation_of_what_the_scorer_no_longer_keeps() -> None:
    assert scorer(refusing(404, "not-found")).explanation("e") is None


def test_a_command_that_takes_too_long_is_ended_and_said_so() -> None:
    with pytest.raises(commands.CommandFailed, match="not done within"):
        commands.run([sys.executable, "-c", "import time; time.sleep(60)"], os.environ, timeout_s=0.2)


def test_what_a_failed_command_said_last_is_told_in_plain_text() -> None:
    said = '{"event": "refused", "reason": "no such decision"}'
    done = commands.run(
        [sys.executable, "-c", f"import sys; print('''{said}''', file=sys.stderr); sys.exit(1)"], os.environ
    )
    assert (done.status, done.last_words) == (1, "no such decision")


def test_commands_of_services_that_are_not_there_are_off_with_a_reason() -> None:
    assert commands.missing("trainer") is None
    assert "isn't installed" in (commands.missing("nobody") or "")


def test_services_are_probed_and_their_lag_is_summed() -> None:
    fine, waiting = OperationsServer(0, lambda: None), OperationsServer(0, lambda: "restoring claims")
    for server in (fine, waiting):
        server.start()
    try:
        found = probing.probe(
            {
                "fine": f"http://127.0.0.1:{fine.port}",
                "waiting": f"http://127.0.0.1:{waiting.port}",
                "gone": "http://127.0.0.1:9",
            }
        )
    finally:
        for server in (fine, waiting):
            server.stop()
    assert [(health.service, health.state) for health in found] == [
        ("fine", "ready"), ("waiting", "not ready"), ("gone", "away"),
    ]  # fmt: skip
    assert found[1].why == "restoring claims"


def test_a_name_of_several_processes_is_asked_at_each_of_their_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    """A headless Service has one for each pod, and a question by name alone reaches any of them."""
    port = 9100
    pods = {
        "10.0.0.1": (200, "", 3),
        "10.0.0.2": (503, "restoring claims", 4),
        "10.0.0.3": (200, "", None),
    }

    def looked_up(host: str, *_: object, **__: object) -> list[tuple[object, ...]]:
        assert host == "features"
        kinds = [(socket.AF_INET, (one, port)) for one in pods] + [(socket.AF_INET6, ("fd00::1", port, 0, 0))]
        return [(kind, socket.SOCK_STREAM, 6, "", place) for kind, place in kinds]

    def answer(request: httpx.Request) -> httpx.Response:
        assert request.headers["host"] == f"features:{port}"
        assert request.extensions["sni_hostname"] == "features"
        status, why, lag = pods[request.url.host]
        if request.url.path == "/ready":
            return httpx.Response(status, text=why)
        return httpx.Response(200, text="" if lag is None else f"# TYPE {probing.LAG} gauge\n{probing.LAG} {lag}\n")

    client = httpx.Client
    monkeypatch.setattr(socket, "getaddrinfo", looked_up)
    monkeypatch.setattr(httpx, "Client", lambda **_: client(transport=httpx.MockTransport(answer)))
    [found] = probing.probe({"features": f"http://features:{port}"})
    assert (found.state, found.why, found.lag) == ("not ready", "restoring claims", 7)
    assert (found.ready, found.processes) == (2, 3)


def test_a_name_that_cannot_be_looked_up_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: object, **__: object) -> None:
        raise socket.gaierror("Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    [found] = probing.probe({"features": "http://features:9100"})
    assert (found.state, found.ready, found.processes) == ("away", 0, 1)


def test_lag_is_of_all_topics_and_partitions_and_nothing_where_nobody_tells() -> None:
    metrics = (
        "# TYPE flit_consumer_lag_records gauge\n"
        'flit_consumer_lag_records{service="sink",topic="a",partition="0"} 3.0\n'
        'flit_consumer_lag_records{service="sink",topic="b",partition="1"} 4.0\n'
    )
    assert probing.lag_of(metrics) == 7
    assert probing.lag_of("") is None
    assert probing.lag_of("<html>") is None
