"""Commands that a document names, checked word for word against the programs that would read them."""

from __future__ import annotations

import argparse
import contextlib
import functools
import importlib.util
import io
import itertools
import re
import shlex
from collections.abc import Iterator

from deploy.documentation.reference.commands import MODULES, parser_of, subcommands, targets
from deploy.documentation.reference.settings import settings_of, variables
from deploy.documentation.repository import ROOT, SERVICES
from deploy.local.backfill import BackfillSettings
from deploy.local.demo_settings import DemoSettings
from tests.deployment import compose, stages

PLACEHOLDERS = {
    "VERSION": "0123456789abcdef", "EVENT_ID": "order-1", "TIME": "2026-06-01", "DAY": "2026-06-01", "N": "1",
    "FOLDER": "folder", "FILE": "file", "REASON": "range", "OWNER": "owner", "SECONDS": "60", "NAME": "name",
}  # fmt: skip
"""What a document writes for a value of the reader's, and one that is of its kind."""

PROGRAMS = frozenset({
    "cat", "cd", "curl", "do", "done", "echo", "eval", "export", "for", "git", "grep", "kubectl", "openssl",
    "prometheus", "rm", "sed", "sleep", "source", "tail",
})  # fmt: skip
"""Other than ours, as far as documents need them."""

_REMARK = re.compile(r"(?:^|(?<=\s))#.*$", re.M)
_ASSIGNMENT = re.compile(r"[A-Za-z_]\w*=")


def problems(text: str, *, usage: bool = False) -> Iterator[str]:
    """What of a piece of shell isn't so. `usage`: it is a synopsis, with what may be left out in brackets."""
    for command in commands(_without_brackets(text) if usage else text):
        yield from _problems(command, usage=usage)


def commands(text: str) -> Iterator[list[str]]:
    """The words of each command, without what is only said to the reader."""
    bare = _REMARK.sub("", text).replace("\\\n", " ").replace("$(", "; ").replace("…", "")
    lexer = shlex.shlex(bare, posix=True, punctuation_chars="|&;<>()\n")
    lexer.whitespace, lexer.whitespace_split, lexer.commenters = " \t", True, ""
    command: list[str] = []
    for word in lexer:
        if word and set(word) <= set("|&;()\n"):
            if command:
                yield command
            command = []
        else:
            command.append(word)
    if command:
        yield command


def _without_brackets(text: str) -> str:
    """A synopsis as one line a command, with every flag that it names; an indented line goes on the one before."""
    joined = re.sub(r"(#[^\n]*)?\n +", " ", text)
    return re.sub(r"[\[\]|…]|\.\.\.", " ", joined)


def _problems(command: list[str], *, usage: bool) -> Iterator[str]:
    redirected = {i + 1 for i, word in enumerate(command) if set(word) <= {">", "<"}}
    words = [word for i, word in enumerate(command) if i not in redirected and i + 1 not in redirected]
    while words and _ASSIGNMENT.match(words[0]):
        name = words.pop(0).split("=")[0]
        if "__" in name and name not in _variables():
            yield f"{name} is no setting"
    if not words:
        return
    program, rest = words[0], words[1:]
    if program == "make":
        yield from _of_make(rest)
    elif program in ("python", ".venv/bin/python"):
        yield from _of_python(rest, usage=usage)
    elif program.startswith(".venv/bin/"):
        if not (ROOT / program).exists():
            yield f"{program} isn't installed"
    elif program == "docker":
        yield from _of_docker(rest)
    elif program not in PROGRAMS:
        yield f"{program} is no program that a document may ask for"


def _of_make(words: list[str]) -> Iterator[str]:
    for word in words:
        name, assigned, _ = word.partition("=")
        if name not in (_words_of_the_makefile() if assigned else targets()):
            yield f"make has no {name}"


@functools.cache
def _words_of_the_makefile() -> frozenset[str]:
    """Its variables among them: what it reads, it names."""
    return frozenset(re.findall(r"\b[A-Z][A-Z_]+\b", (ROOT / "Makefile").read_text()))


def _of_python(words: list[str], *, usage: bool) -> Iterator[str]:
    if not words or words[0] != "-m":
        return
    module, arguments = words[1], words[2:]
    if module == "pytest":
        yield from (f"{word} isn't there" for word in arguments if "/" in word and not (ROOT / word).exists())
    elif module not in MODULES:
        if importlib.util.find_spec(module) is None:
            yield f"there is no module {module}"
    elif usage:
        yield from _of_usage(module, arguments)
    else:
        yield from _of_arguments(module, [PLACEHOLDERS.get(word, word) for word in arguments])


def _of_usage(module: str, arguments: list[str]) -> Iterator[str]:
    parser = parser_of(module)
    below = subcommands(parser)
    if arguments and below and not arguments[0].startswith("-"):
        if arguments[0] not in below:
            yield f"{module} has no command {arguments[0]}"
            return
        parser = below[arguments[0]]
    known = {option for action in parser._actions for option in action.option_strings}
    yield from (f"{module} has no {word}" for word in arguments if word.startswith("--") and word not in known)


def _of_arguments(module: str, arguments: list[str]) -> Iterator[str]:
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            argparse.ArgumentParser.parse_args(parser_of(module), arguments)
    except SystemExit:
        yield f"{module} {shlex.join(arguments)}: {said.getvalue().splitlines()[-1]}"


def _of_docker(words: list[str]) -> Iterator[str]:
    """`docker compose -f FILE … VERB SERVICE`, `docker build -f FILE --target STAGE …`."""
    if words[:1] == ["build"]:
        options = dict(itertools.pairwise(words))
        if not (ROOT / options["-f"]).is_file():
            yield f"{options['-f']} isn't there"
        if options.get("--target", "service") not in stages():
            yield f"the Dockerfile has no stage {options['--target']}"
        return
    if words[:1] != ["compose"]:
        yield f"docker {' '.join(words[:1])} is not used here"
        return
    yield from (f"{word} isn't there" for word in words if word.endswith(".yml") and not (ROOT / word).is_file())
    for verb, service in itertools.pairwise(words):
        if verb in ("logs", "restart", "stop", "start") and service not in {*compose()["services"], "SERVICE"}:
            yield f"compose has no service {service}"


@functools.cache
def _variables() -> frozenset[str]:
    known = {variable.name for service in SERVICES for variable in variables(settings_of(service))}
    return frozenset(known | {one.name for kind in (DemoSettings, BackfillSettings) for one in variables(kind)})
