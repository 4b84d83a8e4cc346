"""What the documents tell their readers to type, typed as it stands there, into a running system."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from deploy.documentation.repository import ROOT
from deploy.local.ports import free_ports
from shared.settings import BigQuerySettings
from shared.warehouse.clients import bigquery_client
from tests.documents.blocks import SMALLER, Block, blocks_of, indented_of, pages, shell_of, tracked
from tests.e2e.system import System

SERVICES = ("simulator", "features", "scorer", "sink", "console")
DOCUMENTED_PORTS = {"features": 9102, "scorer": 9103, "sink": 9104}
"""Where `make up` has the services' metrics, and so run-books; a test's system has others."""
PATIENCE_SECONDS = 240.0

FIRST = "README.md"
"""Others go on with what it has its reader write and publish."""
IN_A_CLONE = "docs/tutorial.md"
"""Done by test_tutorial.py."""
PAGES = [FIRST, *(page for page in pages() if page not in (FIRST, IN_A_CLONE))]


QUICK = (FIRST, "docs/reference/rest.md")
"""What producers, consumers and checkouts begin with is run each time; the rest starts a dozen programs of seconds."""


def is_run(block: Block) -> bool:
    return block.language in {"bash", "console", "python", "sql"} and block.mark in (None, SMALLER)


BLOCKS = [
    pytest.param(block, id=str(block), marks=() if page in QUICK else pytest.mark.slow)
    for page in PAGES
    for block in blocks_of(page)
    if is_run(block)
]
LOOKS = [
    (block, line)
    for page in PAGES
    if "/runbooks/" in page
    for block in indented_of(page)
    for line in block.text.splitlines()
    if re.match(rf"curl -s http://127\.0\.0\.1:({'|'.join(map(str, DOCUMENTED_PORTS.values()))})/metrics", line)
]


@dataclass
class Reader:
    """Somebody who follows the documents in a folder with this repository's parts, on a running system."""

    folder: Path
    environment: dict[str, str]
    system: System
    said: dict[str, str] = field(default_factory=dict)
    """What each block has answered, by its place."""

    def does(self, block: Block) -> None:
        if block.language == "sql":
            list(bigquery_client(BigQuerySettings(**self.warehouse)).query(block.text).result())
        elif block.title is not None:
            (self.folder / block.title).write_text(block.to_run)
        elif block.language == "python":
            self.said[str(block)] = self.runs([sys.executable, "-c", block.to_run])
        else:
            self.said[str(block)] = self.types(shell_of(block))

    @property
    def warehouse(self) -> dict[str, str]:
        """The settings of BigQuery, by field."""
        names = {f"BIGQUERY__{name.upper()}": name for name in BigQuerySettings.model_fields}
        return {names[name]: value for name, value in self.environment.items() if name in names}

    def types(self, text: str) -> str:
        return self.runs(["bash", "-euo", "pipefail", "-c", text])

    def runs(self, command: list[str]) -> str:
        done = subprocess.run(
            command, cwd=self.folder, env=self.environment, capture_output=True, text=True, timeout=PATIENCE_SECONDS,
            check=False,
        )  # fmt: skip
        assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
        return done.stdout


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reader]:
    folder = tmp_path_factory.mktemp("documents")
    workplace = folder / "flit-risk"
    workplace.mkdir()
    for part in {".venv", *(path.split("/")[0] for path in tracked())}:
        (workplace / part).symlink_to(ROOT / part)
    (console,) = free_ports(1)
    with System(folder, SERVICES, {"CONSOLE__PORT": str(console), "ALERTS__STATE": str(folder / "alerts")}) as running:
        environment = running.environment | {
            "FLIT_SCORER": running.http,
            "FLIT_CONSOLE": f"http://127.0.0.1:{console}",
            "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
            "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "clients/python")]),
        }
        reader = Reader(workplace, environment, running)
        for block in blocks_of(FIRST):
            if block.title is not None:
                reader.does(block)
        yield reader


@pytest.mark.parametrize("block", BLOCKS)
def test_a_block_does_what_its_page_says(reader: Reader, block: Block) -> None:
    if "openssl" in block.text and shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    reader.does(block)


def test_the_published_purchase_was_read_back_as_a_decision(reader: Reader) -> None:
    (said,) = (said for where, said in reader.said.items() if where.startswith(FIRST) and "published" in said)
    assert re.match(r"published: partition \d, offset \d+", said)
    read = [said for where, said in reader.said.items() if where.startswith(FIRST) and "published" not in said]
    assert re.match(r"[0-9a-f]{32} order-1001 (approve|review|decline) \[", read[0])
    assert json.loads(read[1])["decision"] in {"approve", "review", "decline"}


def test_every_call_of_the_rest_page_was_answered(reader: Reader) -> None:
    decision = json.loads(reader.types('curl --silent "$FLIT_SCORER/v1/decisions/order-4711"'))
    assert decision["event_id"] == "order-4711"
    said = [answer for where, answer in reader.said.items() if where.startswith("docs/reference/rest.md")]
    assert len(said) == 6 and all(said)
    assert said[-1].split()[0] in {"approve", "review", "decline"}


@pytest.mark.slow
def test_the_refused_purchase_was_found_and_sent_again_once(reader: Reader) -> None:
    said = [answer for where, answer in reader.said.items() if where.startswith("docs/how-to/replay-dead-letters.md")]
    assert said[0].startswith("published")
    assert re.search(r"\b1 would be sent", said[1]), said[1]
    assert re.search(r"\b1 sent", said[2]), said[2]


@pytest.mark.parametrize(("block", "line"), LOOKS, ids=str)
def test_a_look_that_a_run_book_asks_for_shows_something(reader: Reader, block: Block, line: str) -> None:
    for service, port in DOCUMENTED_PORTS.items():
        line = line.replace(f":{port}/", f":{reader.system.supervisor.service(service).metrics_port}/")
    assert reader.types(line), block
