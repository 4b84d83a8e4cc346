"""Every start command of every file, read by the parser of the very module that it names."""

from __future__ import annotations

import argparse
import importlib
import json
import shlex
import sys
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from deploy.local.supervisor import SERVICES
from tests.deployment import BASE, DEPLOY, DEV, PROD, compose_containers, kubernetes_containers, ours

WRAPPER = "shared.variable_files"


def of_railway() -> Iterator[tuple[str, ...]]:
    """Module and arguments, without the shell and the wrapper around them."""
    for file in (DEPLOY / "railway").glob("*/railway.json"):
        command = json.loads(file.read_text())["deploy"].get("startCommand")
        words = shlex.split(command) if command else []
        if words[:2] == ["/bin/sh", "-c"]:
            words = shlex.split(words[2].replace("&& exec", "&&"))
        for part in " ".join(words).split(" && ") if words else []:
            program, flag, wrapper, *line = part.split()
            assert (program, flag, wrapper) == ("python", "-m", WRAPPER), file
            yield tuple(line)


def lines() -> list[tuple[str, ...]]:
    found = {(f"services.{one.name}", *one.arguments) for one in SERVICES} | set(of_railway())
    for one in ours(
        [*compose_containers(), *(each for folder in (BASE, DEV, PROD) for each in kubernetes_containers(folder))]
    ):
        if one.command is None:
            found.add((f"services.{one.ours}", *one.arguments))
        else:
            assert list(one.command[:2]) == ["python", "-m"], one.where
            found.add(tuple(one.command_line([])[2:]))
    return sorted(found)


class Read(Exception):
    """The parser took the line: nothing is to be started."""


def main_of(module: str) -> Any:
    try:
        return importlib.import_module(f"{module}.__main__").main
    except ModuleNotFoundError:
        return importlib.import_module(module).main


def read(line: Sequence[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Raises Read where the module's own parser takes the line, SystemExit where it doesn't."""
    taking = argparse.ArgumentParser.parse_args

    def take(parser: argparse.ArgumentParser, *given: Any) -> Any:
        taking(parser, *given)
        raise Read

    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", take)
    monkeypatch.setattr(sys, "argv", [line[0], *line[1:]])
    main_of(line[0])()


@pytest.mark.parametrize("line", lines(), ids=" ".join)
def test_the_module_that_a_start_command_names_takes_its_arguments(
    line: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(Read):
        read(line, monkeypatch)


def test_a_command_that_the_module_does_not_know_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SystemExit):
        read(("services.trainer", "whatch"), monkeypatch)


def test_every_service_is_started_by_compose_kubernetes_and_railway_with_the_same_arguments() -> None:
    by_file = {
        "compose": {
            f"services.{one.ours}": list(one.arguments)
            for one in ours(compose_containers())
            if not one.command and one.name != "ledger"
        },
        "production": {
            f"services.{one.ours}": list(one.arguments)
            for one in ours(kubernetes_containers(PROD))
            if not one.command and one.name not in ("reconcile", "ledger")
        },
        "railway": {line[0]: list(line[1:]) for line in of_railway() if line[0].startswith("services.")},
        "make up": {f"services.{one.name}": list(one.arguments) for one in SERVICES},
    }
    for name in ("ingestor", "features", "scorer", "sink", "trainer", "console"):
        assert len({tuple(found[f"services.{name}"]) for found in by_file.values()}) == 1, name
    assert set(by_file["production"]) == set(by_file["railway"])
    assert set(by_file["compose"]) == set(by_file["make up"]) == {*by_file["production"], "services.simulator"}
