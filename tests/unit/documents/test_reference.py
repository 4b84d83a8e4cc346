"""The reference pages name everything that they are about, and nothing that there isn't."""

from __future__ import annotations

import argparse
import re

import pytest

from deploy.documentation.reference import FILES, PAGES, commands, metrics, rest, settings
from deploy.documentation.repository import ROOT, SERVICES
from shared.contracts import topics
from shared.contracts.schemas import EVENTS
from shared.warehouse import tables, views
from tests.monitoring import metrics_of_the_code


def first_cells(text: str) -> set[str]:
    return set(re.findall(r"^\| `([^`]+)` \|", text, re.M))


def test_every_setting_of_every_service_is_named_with_its_default() -> None:
    text = settings.page()
    for service in SERVICES:
        for variable in settings.variables(settings.settings_of(service)):
            assert variable.name in first_cells(text)
    assert "| `SCORER__HTTP_PORT` | whole number, ≥ 0, ≤ 65535 | `8000` | 0 picks a free port. |" in text
    assert "| `SCORER__POLICY_FILE` | path | `shared/policy/default.yaml` |" in text, "no path of this machine"


def test_a_default_that_differs_by_service_is_said_for_each() -> None:
    (row,) = (line for line in settings.page().splitlines() if line.startswith("| `METRICS__PORT`"))
    assert "scorer `9103`" in row and "sink `9104`" in row


def test_every_setting_that_a_readme_lists_is_one() -> None:
    known = {one.name for service in SERVICES for one in settings.variables(settings.settings_of(service))}
    for service in SERVICES:
        text = (ROOT / "services" / service / "README.md").read_text()
        named = set(re.findall(r"`([A-Z]+__[A-Z0-9_]*[A-Z0-9])`", text))
        assert {name for name in named if not name.startswith("__")} <= known, service


def test_every_metric_is_named() -> None:
    named = first_cells(metrics.page())
    suffixes = ("_bucket", "_sum", "_count", "_created")
    ours = {name for name in metrics_of_the_code() if name.startswith("flit_") and not name.endswith(suffixes)}
    assert {name for name in ours if f"{name}_total" not in ours} == named


def test_every_topic_event_table_and_view_is_named() -> None:
    assert {topic.name for topic in topics.ALL} == first_cells(PAGES["reference/topics.md"]())
    assert re.findall(r"^## (\w+)$", PAGES["reference/events.md"](), re.M) == [
        kind.__name__ for kind in EVENTS.values()
    ]
    named = re.findall(r"^### (\S+)$", PAGES["reference/tables.md"](), re.M)
    assert sorted(named) == sorted([table.id for table in tables.ALL] + [view.id for view in views.ALL])


def test_every_call_of_the_rest_door_is_named() -> None:
    paths = rest.document()["paths"]
    called = [f"{verb.upper()} {path}" for path, calls in paths.items() for verb in calls]
    assert re.findall(r"^## ((?:GET|POST) \S+)$", PAGES["reference/openapi.md"](), re.M) == called
    assert "POST /v1/decisions" in called and "GET /ready" in called
    assert '"openapi": "3.1.0"' in FILES["reference/openapi.json"]()


@pytest.mark.parametrize("module", commands.MODULES)
def test_every_option_of_a_command_line_is_named(module: str) -> None:
    text = commands.page()
    parser = commands.parser_of(module)
    for each in (parser, *commands.subcommands(parser).values()):
        for action in each._actions:
            assert isinstance(action, argparse._HelpAction) or all(option in text for option in action.option_strings)
    assert f"## python -m {module}\n" in text


def test_every_entry_point_with_a_command_line_is_listed() -> None:
    found = {
        ".".join(path.relative_to(ROOT).parent.parts)
        for folder in ("services", "shared")
        for path in (ROOT / folder).glob("*/__main__.py")
    }
    assert found <= commands.MODULES.keys()
