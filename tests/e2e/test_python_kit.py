"""The kit in Python: publishes purchases of its own, reads their decisions, by what the AsyncAPI document says."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from shared.contracts.schemas import FOLDER
from tests import kits
from tests.e2e.system import System

PUBLISH, CONSUME = kits.KITS / "python/publish.py", kits.KITS / "python/consume.py"


def stored(path: Path) -> Mapping[str, bytes]:
    with sqlite3.connect(path) as database:
        return dict(database.execute("SELECT event_id, record FROM decisions"))


PYTHON = kits.Kit([sys.executable, str(PUBLISH)], [sys.executable, str(CONSUME)], stored)


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    with System(tmp_path_factory.mktemp("kits"), ("features", "scorer")) as running:
        yield running


async def test_each_decision_is_kept_once(system: System, tmp_path: Path) -> None:
    await kits.each_decision_is_kept_once(PYTHON, system, tmp_path, "py")


async def test_purchases_lie_where_their_keys_belong(system: System) -> None:
    await kits.purchases_lie_where_their_keys_belong(PYTHON, system, "py-lie")


async def test_what_breaks_the_contract_is_not_sent(system: System) -> None:
    await kits.what_breaks_the_contract_is_not_sent(PYTHON, system)


def test_a_key_rule_that_it_does_not_know_stops_it(tmp_path: Path) -> None:
    document = json.loads((FOLDER / "asyncapi.json").read_text())
    document["components"]["messages"]["transaction"]["x-key"]["partitioner"] = "crc32"
    (tmp_path / "contract.json").write_text(json.dumps(document))
    environment = os.environ | {"FLIT_CONTRACT": str(tmp_path / "contract.json")}
    done = subprocess.run(
        PYTHON.publish, input="", env=environment, capture_output=True, text=True, check=False,
        timeout=kits.PATIENCE_SECONDS,
    )  # fmt: skip
    assert done.returncode == 1 and "partitioned by crc32" in done.stderr


def test_the_page_s_own_lines_work(system: System, tmp_path: Path) -> None:
    page = (kits.KITS / "README.md").read_text()
    lines = page.split("```bash\n")[1].split("```")[0]
    (tmp_path / "kits").symlink_to(kits.KITS)
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = system.environment | {"PATH": path}
    done = subprocess.run(
        ["bash", "-ec", lines], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False,
        timeout=kits.PATIENCE_SECONDS,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("order-2001\n")
    assert "order-2001" in stored(tmp_path / "decisions.db")
