"""The kit in JavaScript does what the one in Python does."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from tests import kits
from tests.e2e.system import System

pytestmark = [
    pytest.mark.timeout(900),
    pytest.mark.skipif(
        shutil.which("node") is None or shutil.which("npm") is None,
        reason="node or npm is not installed: they are packages of Debian",
    ),
]


def stored(path: Path) -> Mapping[str, bytes]:
    values = [file.read_bytes() for file in path.glob("*.json")]
    return {json.loads(value)["event_id"]: value for value in values}


@pytest.fixture(scope="module")
def kit(tmp_path_factory: pytest.TempPathFactory) -> kits.Kit:
    """A copy of the kit with what its lock names, as a user has it."""
    folder = tmp_path_factory.mktemp("kit") / "kits/node"
    shutil.copytree(kits.KITS / "node", folder, ignore=shutil.ignore_patterns("node_modules"))
    reference = folder.parents[1] / "docs/reference"
    reference.mkdir(parents=True)
    shutil.copy(kits.KITS.parent / "docs/reference/asyncapi.json", reference)
    installed = subprocess.run(
        ["npm", "ci", "--no-audit", "--no-fund"], cwd=folder, capture_output=True, text=True, check=False, timeout=300
    )
    assert installed.returncode == 0, installed.stderr
    return kits.Kit(["node", str(folder / "publish.mjs")], ["node", str(folder / "consume.mjs")], stored)


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    with System(tmp_path_factory.mktemp("kits"), ("features", "scorer")) as running:
        yield running


async def test_each_decision_is_kept_once(kit: kits.Kit, system: System, tmp_path: Path) -> None:
    await kits.each_decision_is_kept_once(kit, system, tmp_path, "js")


async def test_purchases_lie_where_their_keys_belong(kit: kits.Kit, system: System) -> None:
    await kits.purchases_lie_where_their_keys_belong(kit, system, "js-lie")


async def test_what_breaks_the_contract_is_not_sent(kit: kits.Kit, system: System) -> None:
    await kits.what_breaks_the_contract_is_not_sent(kit, system)


def test_a_number_that_json_cannot_hold_breaks_the_contract(kit: kits.Kit) -> None:
    """JSON.parse makes Infinity of 1e999, and JSON.stringify null of that."""
    script = (
        'import { messageNamed } from "./contract.mjs";'
        'const good = { transaction_id: "1", customer_id: "1", occurred_at: "2026-06-01T09:02:00Z", currency: "EUR" };'
        'const message = messageNamed("transaction");'
        "for (const amount of [1e308, Infinity, NaN]) {"
        '  try { message.check({ ...good, amount }); console.log("taken"); }'
        "  catch (wrong) { console.log(wrong.message); }"
        "}"
    )
    done = subprocess.run(
        ["node", "--input-type=module", "--eval", script], cwd=Path(kit.publish[-1]).parent, capture_output=True,
        text=True, check=True, timeout=60,
    )  # fmt: skip
    assert done.stdout.splitlines() == ["taken", "$/amount must be number", "$/amount must be number"]


def test_its_lock_names_hashes_and_no_registry() -> None:
    lock = json.loads((kits.KITS / "node/package-lock.json").read_text())
    packages = {name: one for name, one in lock["packages"].items() if name}
    assert packages
    assert all(one["integrity"].startswith("sha512-") and "resolved" not in one for one in packages.values())
