"""The tutorial, done as a newcomer does it: in a clone, on the default ports, every line as it stands."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.documentation.repository import ROOT
from deploy.local.control import CONSOLE_PORT, SCORER_PORT
from deploy.local.services import status_of
from deploy.local.supervisor import SERVICES
from tests.documents.blocks import NOT_RUN, Block, blocks_of, tracked

pytestmark = [pytest.mark.slow, pytest.mark.timeout(7200)]

PAGE = "docs/tutorial.md"
PATIENCE_SECONDS = 3600.0
"""Of one block: a small demo and all services, on a machine that may have other things to do."""

BLOCKS = [block for block in blocks_of(PAGE, whole=True) if block.mark != NOT_RUN]


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    taken = [port for port in (SCORER_PORT, CONSOLE_PORT) if status_of(port, "/") is not None]
    taken += [service.metrics_port for service in SERVICES if service.ready()]
    if taken:
        pytest.skip(f"something else runs on the ports of `make up`: {taken}")
    folder = tmp_path_factory.mktemp("tutorial") / "flit-risk"
    for name in tracked():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, folder / name)
    # What the first `make` would install is here already; the lock is no newer than that.
    (folder / ".venv").symlink_to(ROOT / ".venv")
    os.utime(folder / "requirements.lock", (0, 0))
    if (ROOT / ".cache").is_dir():
        (folder / ".cache").symlink_to(ROOT / ".cache")
    subprocess.run(["git", "init", "--quiet"], cwd=folder, check=True)
    yield folder
    subprocess.run(["make", "down"], cwd=folder, check=False)


def does(block: Block, folder: Path) -> str:
    if block.title is not None:
        (folder / block.title).write_text(block.to_run)
        return ""
    assert block.language == "bash", f"{block}: a reader of the tutorial types commands"
    # A clone's Python imports the clone's code.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", block.to_run], cwd=folder, env=environment,
        capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=False,
    )  # fmt: skip
    assert done.returncode == 0, f"{block.to_run}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return done.stdout


def test_a_newcomer_gets_to_the_end_of_the_tutorial(clone: Path) -> None:
    said: dict[str, str] = {}
    for block in BLOCKS:
        answer = does(block, clone)
        said[block.text] = answer
        print(block.to_run, answer, sep="\n", file=sys.stderr)
    demo = json.loads((clone / "out/demo.json").read_text())
    assert demo["missing_decisions"] == demo["duplicate_decisions"] == 0
    assert re.match(r"published: partition \d", of(said, "python publish.py"))
    assert re.match(r"[0-9a-f]{32} order-1001 (approve|review|decline) ", of(said, "read.py order-1001"))
    assert json.loads(of(said, "order-1002"))["decision"] in {"approve", "review", "decline"}
    assert of(said, "_stcore/health") == "ok"
    assert of(said, "is_weekend").strip() == '"is_weekend":1.0'
    assert re.search(r"\b1 would be sent", of(said, "--dry-run"))
    assert re.match(r"[0-9a-f]{32} order-3001 (approve|review|decline) ", of(said, "read.py order-3001"))
    assert json.loads((clone / "out/ledger.json").read_text())["balanced"]


def of(said: dict[str, str], words: str) -> str:
    """The answer to the last block that has these words."""
    return [answer for text, answer in said.items() if words in text][-1]


def test_every_part_of_the_tutorial_is_one_that_is_run_or_has_a_reason() -> None:
    assert len(BLOCKS) >= 15
    assert len(list(blocks_of(PAGE, whole=True))) - len(BLOCKS) == 1
