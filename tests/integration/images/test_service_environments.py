"""What an image of each service would hold, and that it suffices."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.deployment import REPOSITORY
from tests.integration.images.conftest import ImageOf

SERVICES = ("simulator", "ingestor", "features", "scorer", "sink", "trainer", "ledger", "console")
MEGABYTE = 1_000_000

NOT_IN_THE_SCORER = re.compile(
    r"xgboost.*|pandas.*|scikit-learn|scipy|evidently|pyarrow|nvidia.*|.*cuda.*|google-cloud-bigquery.*|grpcio.*|skl2onnx"
)
NOT_IN_ANY_IMAGE = re.compile(r"uv|pip|setuptools|poetry.*|pytest.*|mypy|ruff|nvidia.*")


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_starts_from_its_own_extra_alone(image_of: ImageOf, name: str) -> None:
    image = image_of(name)
    shown = image.run([*image.entrypoint, "--help"])
    assert shown.returncode == 0, shown.stdout
    assert f"python -m services.{name}" in shown.stdout


@pytest.mark.parametrize("name", SERVICES)
def test_no_image_holds_an_installer_a_test_tool_or_cuda(image_of: ImageOf, name: str) -> None:
    assert not [one for one in image_of(name).distributions() if NOT_IN_ANY_IMAGE.fullmatch(one)]


def test_the_scorer_carries_no_training_or_warehouse_package(image_of: ImageOf) -> None:
    held = image_of("scorer").distributions()
    assert {"onnxruntime", "fastapi", "aiokafka"} <= held
    assert not [one for one in held if NOT_IN_THE_SCORER.fullmatch(one)]


def test_the_scorer_stays_below_450_megabytes(image_of: ImageOf) -> None:
    assert image_of("scorer").bytes() < 450 * MEGABYTE


def test_an_image_holds_no_other_service(image_of: ImageOf) -> None:
    assert {path.name for path in (image_of("scorer").app / "services").iterdir()} == {"__init__.py", "scorer"}


def test_a_package_whose_hash_is_not_the_one_of_the_lock_is_refused(tmp_path: Path) -> None:
    lock = (REPOSITORY / "requirements.lock").read_text()
    entry = re.search(r"^orjson==.*?(?=^\S+==)", lock, re.M | re.S)
    assert entry is not None
    (tmp_path / "requirements.lock").write_text(
        lock.replace(entry[0], re.sub(r"sha256:[0-9a-f]{64}", "sha256:" + "0" * 64, entry[0]))
    )
    uv = str(Path(sys.prefix) / "bin" / "uv")
    made = tmp_path / "environment"
    subprocess.run([uv, "venv", "--quiet", "--python", sys.executable, str(made)], check=True)
    tried = subprocess.run(
        [uv, "pip", "install", "--python", str(made), "--no-deps", "orjson", "-c", "requirements.lock"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert tried.returncode != 0
    assert "hash" in tried.stderr.lower()


def test_the_first_step_takes_uv_out_of_the_lock_and_nothing_else(tmp_path: Path) -> None:
    from tests.deployment import stages

    command, _, install = stages()["installer"].last("RUN").partition(" && ")
    subprocess.run(["/bin/sh", "-ec", command], cwd=_with_lock(tmp_path), check=True)
    taken = (tmp_path / "uv.txt").read_text()
    assert re.findall(r"^(\S+?)==", taken, re.M) == ["uv"]
    assert taken.count("--hash=sha256:") >= 2
    assert not taken.rstrip().endswith("\\")
    assert "--require-hashes -r uv.txt" in install


def _with_lock(folder: Path) -> Path:
    (folder / "requirements.lock").write_bytes((REPOSITORY / "requirements.lock").read_bytes())
    return folder
