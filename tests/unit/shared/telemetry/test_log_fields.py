"""No line of a log holds what isn't meant for it, or can be taken for two."""

from __future__ import annotations

import ast
import json
import logging as stdlib_logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from shared.telemetry import log_fields, logging
from shared.telemetry.log_fields import ALLOWED, FIELDS_DROPPED, bounded

REPOSITORY = Path(__file__).parents[4]
CALLS = {"debug", "info", "warning", "error", "exception", "critical"}
CANARY = "canary-4111111111111111"


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    root = stdlib_logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()


def _logged_fields() -> Iterator[tuple[str, str]]:
    """(file, field) of every call `log.<level>(…, field=…)` of our own."""
    for folder in ("services", "shared", "deploy"):
        for path in (REPOSITORY / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if (
                    isinstance(node, ast.Call)
                    and isinstance(node.func, ast.Attribute)
                    and node.func.attr in CALLS
                    and isinstance(node.func.value, ast.Name)
                    and node.func.value.id == "log"
                ):
                    for keyword in node.keywords:
                        yield str(path.relative_to(REPOSITORY)), keyword.arg or "**"


def test_every_field_that_we_log_is_on_the_list() -> None:
    found = list(_logged_fields())
    assert len(found) > 100
    assert [(file, name) for file, name in found if name not in ALLOWED | {"exc_info"}] == []


def test_nothing_of_a_person_is_on_the_list() -> None:
    of_people = {"customer_id", "customer", "device", "device_id", "payment", "method_id", "transaction_id", "amount"}
    of_requests = {"body", "value", "headers", "key", "keys", "authorization", "idempotency_key", "url", "query"}
    assert not ALLOWED & (of_people | of_requests)


def test_a_field_that_is_not_on_the_list_is_left_out_and_counted(capsys: pytest.CaptureFixture[str]) -> None:
    logging.configure("scorer")
    before = FIELDS_DROPPED._value.get()
    structlog.get_logger("x").warning("refused", event_id="e1", customer_id=CANARY, amount=67.51)
    written = capsys.readouterr().err
    assert json.loads(written)["event_id"] == "e1"
    assert CANARY not in written
    assert "67.51" not in written
    assert FIELDS_DROPPED._value.get() - before == 2


@pytest.mark.parametrize("style", ["json", "console"])
def test_an_exception_is_shown_without_its_local_variables(
    style: Literal["json", "console"], capsys: pytest.CaptureFixture[str]
) -> None:
    logging.configure("scorer", style=style)
    try:
        body = {"customer_id": CANARY}
        raise RuntimeError(f"body of {len(body)} fields")
    except RuntimeError:
        structlog.get_logger("x").exception("stopped_by_error")
    written = capsys.readouterr().err
    assert "RuntimeError: body of 1 fields" in written
    assert "test_log_fields.py" in written
    assert CANARY not in written


@pytest.mark.parametrize("style", ["json", "console"])
def test_no_value_begins_a_line_of_its_own(
    style: Literal["json", "console"], capsys: pytest.CaptureFixture[str]
) -> None:
    forged = '\r\n{"event": "approved"}\u2028{"event": "approved"}\x1b[2K'
    logging.configure("scorer", style=style)
    structlog.get_logger("x").warning("refused", detail=forged, reasons={forged: [forged]})
    stdlib_logging.getLogger("aiokafka.client").warning("broker %s away", forged)
    try:
        raise ValueError(forged)
    except ValueError:
        structlog.get_logger("x").exception("failed")
    written = capsys.readouterr().err
    assert "\x1b[2K" not in written
    assert not [line for line in written.splitlines() if line.startswith('{"event": "approved"}')]
    own = [line for line in written.splitlines() if not line.startswith("  ") and line]
    assert len(own) == 3, "each call is one line, the exception's lines indented below the last"


class Secretive:
    def __repr__(self) -> str:
        return CANARY


def test_an_object_that_is_not_plain_is_named_by_its_type_alone() -> None:
    line = bounded(
        None, "info", {"detail": Secretive(), "reasons": [b"bytes", Secretive()], "error": ValueError("why")}
    )
    assert line == {"detail": "<Secretive>", "reasons": ["<bytes>", "<Secretive>"], "error": "why"}


def test_a_long_exception_keeps_its_end() -> None:
    def deep(left: int) -> None:
        if left:
            try:
                deep(left - 1)
            except ValueError as error:
                raise ValueError("outer") from error
        raise ValueError("inner " + "x" * 1000)

    try:
        deep(40)
    except ValueError as error:
        told = log_fields.plain_traceback((type(error), error, error.__traceback__)).splitlines()
    assert len(told) == log_fields.TRACEBACK_LINES + 1
    assert told[-1] == "  ValueError: outer"
    assert max(map(len, told)) <= log_fields.TRACEBACK_WIDTH + 3


_values: Any = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3000) | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@given(_values)
def test_whatever_is_logged_a_line_stays_one_line_of_bounded_texts(value: Any) -> None:
    line = bounded(None, "info", {"event": "x", "detail": value})
    written = json.dumps(line, ensure_ascii=False)
    assert len(written.splitlines()) == 1
    assert all(len(text) <= 6 * log_fields.TEXT_LIMIT + 1 for text in _texts(line))


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for each in (*value.keys(), *value.values()):
            yield from _texts(each)
    elif isinstance(value, list):
        for each in value:
            yield from _texts(each)
