"""The command lines: `make`'s targets, and what each module takes, from the parsers that read it."""

from __future__ import annotations

import argparse
import functools
import importlib
import re
from collections.abc import Mapping
from unittest.mock import patch

from deploy.documentation import markdown
from deploy.documentation.repository import ROOT, SERVICES

MODULES: Mapping[str, str] = {
    **{f"services.{service}": f"services.{service}.__main__" for service in SERVICES},
    "shared.kafka.admin": "shared.kafka.admin",
    "shared.kafka.acls": "shared.kafka.acls",
    "shared.redis_grants": "shared.redis_grants",
    "shared.warehouse": "shared.warehouse.__main__",
    "shared.alerts": "shared.alerts.__main__",
    "shared.contracts.schemas": "shared.contracts.schemas",
    "deploy.monitoring": "deploy.monitoring.__main__",
}
"""What `python -m` is given, and the module whose `main` it calls."""

WIDTH = 100
"""Columns of a usage line."""

Parser = argparse.ArgumentParser


class _Complete(BaseException):
    """Nothing is to be parsed: the parser is what was wanted."""


@functools.cache
def parser_of(name: str) -> Parser:
    """The parser of `python -m <name>`, taken where its `main` is about to use it, since it is complete then."""
    main = importlib.import_module(MODULES[name]).main
    taken: list[Parser] = []

    def take(parser: Parser, *_: object, **__: object) -> argparse.Namespace:
        taken.append(parser)
        raise _Complete

    with patch.object(Parser, "parse_args", take):
        try:
            main()
        except _Complete:
            return taken[0]
    raise AssertionError(f"{name} parses no command line")


def subcommands(parser: Parser) -> dict[str, Parser]:
    """By name, aliases included; none where it takes no subcommand."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            return dict(action.choices)
    return {}


def targets() -> dict[str, str]:
    """Each target of the Makefile that has a description, as `make help` shows them."""
    return dict(re.findall(r"^([a-z-]+):.*## (.*)$", (ROOT / "Makefile").read_text(), re.M))


def page() -> str:
    parts = [
        "## make",
        markdown.table(["target", ""], [[f"`make {name}`", about] for name, about in targets().items()]),
    ]
    for name in MODULES:
        parser = parser_of(name)
        parts += [f"## python -m {name}", markdown.safe(parser.description or ""), _options(parser)]
        shown: set[Parser] = set()
        for command, below in subcommands(parser).items():
            if below not in shown:
                shown.add(below)
                parts += [f"### {name} {command}", _about(parser, command), _usage(below), _options(below)]
    return markdown.page(
        "Commands",
        "Each is started from the repository's root with `.venv/bin/python` (or `python` in an image). A service "
        "without a subcommand runs until SIGTERM; `--check` tries its settings and connections and exits.",
        *(part for part in parts if part),
    )


def _usage(parser: Parser) -> str:
    with patch.dict("os.environ", {"COLUMNS": str(WIDTH)}):
        return f"```text\n{parser.format_usage().removeprefix('usage: ').strip()}\n```"


def _about(parser: Parser, command: str) -> str:
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for choice in action._choices_actions:
                if command in choice.dest.split(" "):
                    return markdown.safe(f"{(choice.help or '')[:1].upper()}{(choice.help or '')[1:]}.")
    return ""


def _options(parser: Parser) -> str:
    rows = []
    for action in parser._actions:
        if isinstance(action, argparse._HelpAction | argparse._SubParsersAction):
            continue
        name = ", ".join(action.option_strings) or str(action.metavar or action.dest)
        choices = "" if action.choices is None else " or ".join(markdown.code(choice) for choice in action.choices)
        about = (action.help or "").replace("%(default)s", str(action.default))
        rows.append([markdown.code(name), choices, markdown.safe(about)])
    return markdown.table(["argument", "one of", ""], rows) if rows else ""
