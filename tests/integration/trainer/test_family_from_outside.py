"""A family in a distribution of its own: the one of docs/how-to/model-family.md, installed as anybody would."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

REPOSITORY = Path(__file__).parents[3]
PAGE = REPOSITORY / "docs/how-to/model-family.md"
NAME = "linear-discriminant"

TRAIN = f"""
import json, sys
from services.trainer.candidates import candidates_of
from services.trainer.evaluate import Economics
from services.trainer.families import Conditions
from services.trainer.workflow import Plan, train_and_register
from shared.deciding.onnx_model import OnnxModel
from shared.model_artifact.registry import ModelRegistry
from tests.research.simulated import simulated_history

examples = simulated_history("bnpl_history", days=110, daily=40, seed=2).examples
registry = ModelRegistry(sys.argv[1])
candidates = candidates_of(["{NAME}"], Conditions(seed=1, threads=1))
outcome = train_and_register(
    examples, int(examples.mature_us.max()), candidates, Plan(0.2, 0.2, Economics(), 1), registry, promote=True
)
model = OnnxModel(registry.load(outcome.manifest.version))
scores = model.score(outcome.holdout.columns(tuple(model.feature_names)))
print(json.dumps({{
    "family": outcome.manifest.family,
    "auc": outcome.manifest.metrics["auc"],
    "promoted": outcome.promoted and registry.current() == outcome.manifest.version,
    "off": float(abs(scores.probabilities - outcome.probability).max()),
    "explained": scores.contributions is not None,
}}))
"""


def write(folder: Path) -> Path:
    """The page's code, each block under the name in its first line."""
    folder.mkdir()
    for body in re.findall(r"```(?:toml|python)\n(.*?)```", PAGE.read_text(), re.S):
        (folder / body.split("\n", 1)[0].removeprefix("# ")).write_text(body)
    return folder


def install(source: Path, target: Path) -> None:
    """Built and installed into a folder of its own, from nothing but what is on this machine."""
    subprocess.run(
        [
            Path(sys.prefix) / "bin" / "uv", "pip", "install", "--quiet", "--python", sys.executable, "--offline",
            "--no-index", "--no-deps", "--no-build-isolation", "--target", target, source,
        ],
        check=True,
    )  # fmt: skip


def run(*arguments: str, beside: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments],
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(REPOSITORY), str(beside)])},
        cwd=beside,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("outside")
    install(write(folder / "source"), folder / "installed")
    return folder / "installed"


def families(beside: Path) -> Any:
    shown = run("-m", "services.trainer", "families", beside=beside)
    assert shown.returncode == 0, shown.stderr
    return json.loads(shown.stdout)


def test_it_is_found_by_its_entry_point_once_it_is_installed_and_not_before(installed: Path, tmp_path: Path) -> None:
    assert NAME not in families(tmp_path)
    assert families(installed)[NAME] == {
        "class": "flit_linear_discriminant:LinearDiscriminant",
        "distribution": "flit-linear-discriminant 1.0.0",
    }


def test_it_is_trained_registered_promoted_and_served_as_onnx(installed: Path, tmp_path: Path) -> None:
    done = run("-c", TRAIN, str(tmp_path / "models"), beside=installed)
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout.splitlines()[-1])
    assert (answer["family"], answer["promoted"], answer["explained"]) == (NAME, True, True)
    assert answer["auc"] > 0.6
    assert answer["off"] < 1e-6


def test_it_cannot_take_the_name_of_another_family(tmp_path: Path) -> None:
    source = write(tmp_path / "source")
    declared = source / "pyproject.toml"
    declared.write_text(declared.read_text().replace(f"{NAME} = ", "logistic = "))
    install(source, tmp_path / "installed")
    refused = run("-m", "services.trainer", "families", beside=tmp_path / "installed")
    assert refused.returncode == 1
    assert "logistic is claimed by flit-risk and by flit-linear-discriminant 1.0.0" in refused.stderr
