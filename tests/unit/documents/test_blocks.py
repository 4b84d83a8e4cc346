"""Every block of code in the documents: its language says what is done with it, and what isn't run is checked."""

from __future__ import annotations

import importlib
import json
import re
import subprocess
import tomllib
from collections import Counter
from pathlib import Path

import pytest
import yaml

from deploy.documentation.markdown import blank_code
from deploy.documentation.repository import ROOT
from deploy.local.kafka_security import KafkaSecurity
from shared.policy.expression import compile_condition
from shared.policy.facts import NAMES
from tests.documents.blocks import NOT_RUN, RUN_BY, TUTORIAL, Block, blocks_of, indented_of, pages, shell_of
from tests.documents.commands import problems

RUN = {"bash", "console", "python", "sql"}
"""Run by tests/e2e/test_documents.py, or marked."""
CHECKED = {"diff", "json", "policy", "properties", "toml", "usage", "yaml"}
"""Here, against what would read them."""
SHOWN = {"mermaid", "text"}
"""What somebody would see: nothing to run. Diagrams are drawn by test_diagrams.py."""

BLOCKS = [block for page in pages() for block in blocks_of(page)]
SHELL = [block for block in BLOCKS if block.language in {"bash", "console", "usage"}]
INDENTED = [block for page in pages() for block in indented_of(page)]
OURS = re.compile(r"(?:[A-Z_]+=\S* )*(?:make|docker|python|\.venv/bin/python) ")
"""Begins a command of which we know what it takes; what stands indented may as well be an answer."""
INLINE = re.compile(r"(?<!`)`((?:make|python -m|\.venv/bin/python -m) [^`\n]+)`(?!`)")

NOBODY_RUNS = {
    "README.md": 1,
    "deploy/airflow/README.md": 1,
    "deploy/local/README.md": 1,
    "docs/how-to/backfill.md": 3,
    "docs/how-to/batch-scoring.md": 1,
    "docs/how-to/gcp.md": 1,
    "docs/operations/evidence.md": 1,
    "docs/operations/experiments.md": 1,
    "docs/operations/monitoring.md": 1,
    "docs/operations/personal-data.md": 1,
    "docs/operations/promotion.md": 1,
    "docs/operations/recovery.md": 2,
    "docs/operations/security.md": 1,
    "docs/operations/supply-chain.md": 1,
    "docs/tutorial.md": 1,
    "notebooks/README.md": 1,
}
"""How many blocks of each page are marked as not run. A new one is a decision: first try whether it can be run."""


def in_language(language: str) -> list[Block]:
    return [block for block in BLOCKS if block.language == language]


def test_every_block_says_by_its_language_what_is_done_with_it() -> None:
    assert [str(block) for block in BLOCKS if block.language not in RUN | CHECKED | SHOWN] == []


def test_no_block_is_overlooked() -> None:
    for page in pages():
        fences = re.findall(r"^ *```", (ROOT / page).read_text(), re.M)
        assert len(fences) == 2 * len(list(blocks_of(page))), page


def test_what_nobody_runs_is_counted_and_has_a_reason() -> None:
    unrun = [block for block in BLOCKS if block.mark == NOT_RUN]
    print(*(f"{block} not run: {block.about}" for block in unrun), sep="\n")
    assert Counter(block.page for block in unrun) == NOBODY_RUNS
    assert all(len(block.about.split()) > 3 for block in unrun)


def test_a_mark_stands_above_a_block() -> None:
    for page in pages():
        marks = re.findall(rf"<!-- (?:{NOT_RUN}|{RUN_BY}|{TUTORIAL}|smaller): ", (ROOT / page).read_text())
        assert len(marks) == sum(block.mark is not None for block in blocks_of(page)), page


def test_what_a_mark_names_is_there_and_knows_the_page() -> None:
    for block in BLOCKS:
        for path in re.findall(r"`(tests/[\w./]+)`", block.about):
            assert (ROOT / path).exists(), f"{block}: {path}"
        if block.mark == RUN_BY:
            (path,) = re.findall(r"`(tests/[\w./]+\.py)`", block.about)
            assert block.page in (ROOT / path).read_text(), f"{path} doesn't take {block.page}"


@pytest.mark.parametrize("block", SHELL, ids=str)
def test_every_command_is_one_that_there_is(block: Block) -> None:
    assert list(problems(shell_of(block), usage=block.language == "usage")) == []


@pytest.mark.parametrize("block", INDENTED, ids=str)
def test_every_command_of_ours_among_what_is_shown_is_one_that_there_is(block: Block) -> None:
    lines = block.text.replace("\\\n", " ").splitlines()
    assert [problem for line in lines if OURS.match(line) for problem in problems(line)] == []


@pytest.mark.parametrize("page", pages())
def test_every_command_in_a_sentence_is_one_that_there_is(page: str) -> None:
    text = (ROOT / page).read_text()
    outside = blank_code(text, inline=False)
    said = [found[1] for found in INLINE.finditer(outside)]
    assert [problem for command in said for problem in problems(command, usage=True)] == []


@pytest.mark.parametrize("command", [
    "make nonsense", "make demo NONSENSE=1", "python -m services.nonsense", "python -m services.sink nonsense",
    "python -m services.trainer nonsense", "python -m services.trainer train --nonsense", "KAFKA__NONSENSE=1 make up",
    "docker compose -f deploy/nonsense.yml up", "nonsense", "true | nonsense", "echo $(nonsense)",
    "docker compose -f deploy/docker-compose.yml logs nonsense", "python -m pytest tests/nonsense",
])  # fmt: skip
def test_a_command_that_does_not_exist_is_found(command: str) -> None:
    assert list(problems(command))


def test_a_flag_that_a_synopsis_makes_up_is_found() -> None:
    assert list(problems("python -m services.trainer train [--as-of TIME] [--nonsense N]", usage=True))


@pytest.mark.parametrize("block", in_language("json"), ids=str)
def test_json_is_json(block: Block) -> None:
    json.loads(block.text)


def test_the_answer_of_a_look_has_the_fields_that_the_page_shows() -> None:
    looking = importlib.import_module("services.trainer.promotion.looking")
    (shown,) = (json.loads(block.text) for block in in_language("json") if block.page == "docs/operations/promotion.md")
    assert shown.keys() == looking.Look().answer().keys()


@pytest.mark.parametrize("block", in_language("yaml") + in_language("toml"), ids=str)
def test_configuration_can_be_read(block: Block) -> None:
    read = tomllib.loads if block.language == "toml" else yaml.safe_load
    assert read(block.text)


@pytest.mark.parametrize("block", in_language("properties"), ids=str)
def test_properties_of_a_broker_are_those_that_the_tests_run_it_with(block: Block, tmp_path: Path) -> None:
    used = KafkaSecurity(tmp_path, [], {1: 1}).properties(1, 2, 3)
    lines = [line for line in block.text.splitlines() if line and not line.startswith("#")]
    shown = dict(line.split("=", 1) for line in lines)
    assert shown.items() <= {name: str(value) for name, value in used.items()}.items()


@pytest.mark.parametrize("block", in_language("policy"), ids=str)
def test_conditions_are_ones_that_a_policy_file_may_hold(block: Block) -> None:
    for line in block.text.splitlines():
        compile_condition(line, NAMES)


@pytest.mark.parametrize("block", in_language("diff"), ids=str)
def test_a_patch_fits_the_code_as_it_stands(block: Block) -> None:
    done = subprocess.run(
        ["git", "apply", "--check", "-"], input=block.text, cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{block}: {done.stderr}"
