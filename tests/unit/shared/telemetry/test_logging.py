from __future__ import annotations

import json
import logging as stdlib_logging
from collections.abc import Iterator

import pytest
import structlog

from shared.telemetry import logging


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    root = stdlib_logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()


def test_every_line_is_json_with_service_level_and_time(capsys: pytest.CaptureFixture[str]) -> None:
    logging.configure("scorer")
    structlog.get_logger("x").info("decided", event_id="e1")
    line = json.loads(capsys.readouterr().err)
    assert line["event"] == "decided"
    assert line["service"] == "scorer"
    assert line["level"] == "info"
    assert line["timestamp"].endswith("Z")


def test_a_library_s_warning_comes_out_in_the_same_form(capsys: pytest.CaptureFixture[str]) -> None:
    logging.configure("scorer")
    stdlib_logging.getLogger("aiokafka.client").warning("broker %s away", 1)
    stdlib_logging.getLogger("aiokafka.client").info("chatter")
    lines = capsys.readouterr().err.splitlines()
    assert [json.loads(line)["event"] for line in lines] == ["broker 1 away"]


def test_a_line_break_in_a_value_can_not_forge_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    logging.configure("scorer")
    structlog.get_logger("x").warning("refused", detail='c1\n{"event": "approved"}')
    assert len(capsys.readouterr().err.splitlines()) == 1
