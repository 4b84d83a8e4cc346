"""The project as one distribution, and the packages that it says it needs."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.deployment import PROJECT, REPOSITORY

POETRY = str(Path(sys.prefix) / "bin" / "poetry")

# Stubs have nothing to import; duckdb's adbc_driver_duckdb is a binding for a package that is not asked for.
IMPORT_ALL = """
import importlib, importlib.metadata, sys
modules = {}
for module, owners in importlib.metadata.packages_distributions().items():
    for owner in owners:
        modules.setdefault(owner.lower().replace("_", "-"), set()).add(module)
for name in sys.argv[1:]:
    held = modules.get(name, {name} & {"pandas-stubs", "types-psutil", "types-pyyaml"})
    importable = [m for m in held if m.isidentifier() and not m.startswith("_") and m != "adbc_driver_duckdb"]
    if not held:
        print(name, "has no module")
    for module in importable:
        try:
            importlib.import_module(module)
        except BaseException as error:
            print(name, module, repr(error))
print("looked at", len(sys.argv) - 1)
"""


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of what the distribution is made from: Poetry writes beside it."""
    folder = tmp_path_factory.mktemp("distribution")
    for name in ("pyproject.toml", PROJECT["readme"]):
        shutil.copy(REPOSITORY / name, folder)
    for name in ("services", "shared"):
        shutil.copytree(REPOSITORY / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    return folder


def poetry(folder: Path, *arguments: str) -> str:
    done = subprocess.run(
        [POETRY, "--no-interaction", *arguments], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_poetry_finds_nothing_wrong(copy: Path) -> None:
    assert "All set!" in poetry(copy, "check")


def test_poetry_builds_a_wheel_with_all_code_and_its_data(copy: Path, tmp_path: Path) -> None:
    poetry(copy, "build", "--output", str(tmp_path))
    wheel = next(tmp_path.glob("flit_risk-*.whl"))
    with zipfile.ZipFile(wheel) as archive:
        held = {name for name in archive.namelist() if ".dist-info/" not in name}
        metadata = archive.read(next(name for name in archive.namelist() if name.endswith("METADATA"))).decode()
    expected = {
        str(path.relative_to(copy))
        for name in ("services", "shared")
        for path in (copy / name).rglob("*")
        if path.is_file()
    }
    assert held == expected
    assert "shared/policy/default.yaml" in held
    assert set(re.findall(r"^Provides-Extra: (\S+)$", metadata, re.M)) == set(PROJECT["optional-dependencies"])
    assert list(tmp_path.glob("flit_risk-*.tar.gz"))


def requirements(extra: str) -> set[str]:
    """Names of an extra's packages on this platform."""
    here = [
        one
        for one in PROJECT["optional-dependencies"][extra]
        if "sys_platform !=" not in one or sys.platform != "linux"
    ]
    return {re.split(r"[<>=!;\s\[]", one)[0].lower().replace("_", "-") for one in here}


@pytest.mark.parametrize("alone", [False, True], ids=["all", "load"])
def test_every_package_that_the_project_names_can_be_imported(alone: bool) -> None:
    # Locust replaces parts of the standard library when it is imported, so it gets a process of its own.
    extras = {"load"} if alone else set(PROJECT["optional-dependencies"]) - {"load"}
    names = set() if alone else {re.split(r"[<>=]", one)[0] for one in PROJECT["dependencies"]}
    names |= {name for extra in extras for name in requirements(extra)}
    done = subprocess.run(
        [sys.executable, "-c", IMPORT_ALL, *sorted(names)], capture_output=True, text=True, check=False
    )
    assert done.stdout.splitlines() == [f"looked at {len(names)}"], done.stdout + done.stderr
