"""The lock, and the bill of materials made of it."""

from __future__ import annotations

import json
import re
import tomllib
from typing import Any

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from deploy.supply_chain.lock import PROJECT, LockError, read_lock
from deploy.supply_chain.sbom import UnlockedError, bill_of_materials
from tests.deployment import REPOSITORY

LOCK = (REPOSITORY / "requirements.lock").read_text()
TABLE: dict[str, Any] = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
ONE = "orjson==3.13.0 ; python_full_version < '3.12' \\\n    --hash=sha256:" + "0" * 64 + "\n"


def below(bill: dict[str, Any], name: str) -> set[str]:
    """Names of all packages that a component stands on, near and far."""
    tree = {one["ref"]: one["dependsOn"] for one in bill["dependencies"]}
    found: set[str] = set()
    waiting = [next(ref for ref in tree if ref.endswith(name))]
    while waiting:
        for each in tree[waiting.pop()]:
            if each not in found:
                found.add(each)
                waiting.append(each)
    return {ref.removeprefix("pkg:pypi/").partition("@")[0] for ref in found}


def test_every_line_of_the_lock_is_understood_and_every_hash_taken() -> None:
    packages = read_lock(LOCK)
    assert len(packages) == len(re.findall(r"^\S+==", LOCK, re.M))
    assert sum(len(package.hashes) for package in packages) == LOCK.count("--hash=sha256:")
    assert any(PROJECT in package.wanted_by for package in packages)
    names = {package.name for package in packages}
    assert {name for package in packages for name in package.wanted_by} - names == {PROJECT}


@pytest.mark.parametrize(
    "line",
    [
        "orjson @ https://example.com/orjson.whl",
        "--index-url https://example.com/simple",
        "-e .",
        "orjson>=3",
        "orjson",
    ],
)
def test_an_address_a_range_or_a_folder_is_no_lock(line: str) -> None:
    with pytest.raises(LockError):
        read_lock(f"{ONE}{line}\n")


def test_a_package_without_a_hash_is_no_lock() -> None:
    with pytest.raises(LockError, match="rich has no hash"):
        read_lock("rich==15.0.0\n" + ONE)


def test_the_bill_keeps_to_the_schema_of_cyclonedx() -> None:
    validator = JsonStrictValidator(SchemaVersion.V1_6)
    bill = bill_of_materials(read_lock(LOCK), TABLE)
    assert validator.validate_str(json.dumps(bill)) is None
    bill["components"][0]["hash"] = "none"
    assert validator.validate_str(json.dumps(bill)) is not None


def test_the_bill_says_which_packages_an_image_holds() -> None:
    bill = bill_of_materials(read_lock(LOCK), TABLE)
    scorer, trainer = below(bill, "#scorer"), below(bill, "#trainer")
    assert {"onnxruntime", "aiokafka", "starlette"} <= scorer
    assert not {"pandas", "xgboost-cpu", "pytest", "pip-audit"} & scorer
    assert {"pandas", "scikit-learn"} <= trainer


def test_whatever_is_referred_to_is_in_the_bill_and_nothing_stands_in_it_for_nobody() -> None:
    bill = bill_of_materials(read_lock(LOCK), TABLE)
    refs = [one["ref"] for one in bill["dependencies"]]
    assert len(refs) == len(set(refs))
    used = {each for one in bill["dependencies"] for each in one["dependsOn"]}
    assert used <= set(refs)
    assert {one["bom-ref"] for one in bill["components"]} <= used


def test_the_same_lock_gives_the_same_bill() -> None:
    one, other = (bill_of_materials(read_lock(LOCK), TABLE) for _ in range(2))
    assert one == other
    changed = bill_of_materials(read_lock(LOCK + ONE.replace("orjson", "orjson2")), TABLE)
    assert changed["serialNumber"] != one["serialNumber"]


def test_a_package_of_the_project_that_was_not_locked_is_an_error() -> None:
    table = TABLE | {"dependencies": [*TABLE["dependencies"], "requests-mock>=1"]}
    with pytest.raises(UnlockedError, match="requests-mock: make lock"):
        bill_of_materials(read_lock(LOCK), table)
