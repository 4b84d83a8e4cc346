"""A training is the same wherever it runs, and may be killed at any of its steps."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from shared.model_artifact.registry import ModelRegistry
from tests.unit.trainer.runs import run, run_until


def versions(folder: Path, hash_seed: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-m", "tests.unit.trainer.runs", str(folder)],
        env=os.environ | {"PYTHONHASHSEED": hash_seed},
        capture_output=True,
        text=True,
        timeout=300,
        check=True,
    )
    return [line.split()[1] for line in done.stdout.splitlines() if line.startswith("version ")]


@pytest.mark.slow
def test_two_processes_make_the_same_version_of_the_same_data_with_tuning_and_either_kind_of_labels(
    tmp_path: Path,
) -> None:
    first, second = versions(tmp_path / "a", "1"), versions(tmp_path / "b", "2")
    assert first == second
    assert len(set(first)) == 2, "other labels, another model"


@pytest.fixture(scope="module")
def steps(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Of a whole training, in order."""
    told: list[str] = []
    run(str(tmp_path_factory.mktemp("whole")), hazard=True, progress=told.append)
    return told


def test_a_training_killed_at_any_step_leaves_the_registry_whole_and_the_next_one_works(
    tmp_path: Path, steps: list[str]
) -> None:
    assert steps[0] == "split"
    assert steps[-9:] == [
        "tuned", "fitted again", "exported", "parity checked", "evaluated", "card written", "champion asked",
        "registered", "judged",
    ]  # fmt: skip
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.unit.trainer.runs", "xgboost", "sklearn.linear_model", "onnxruntime"])
    folder = str(tmp_path / "models")
    before = run(folder, hazard=False, seed=2).manifest.version
    registry = ModelRegistry(folder)
    for step in steps:
        ours, theirs = context.Pipe(duplex=False)
        process = context.Process(target=run_until, args=(step, folder, theirs))
        process.start()
        theirs.close()
        assert ours.poll(120), step
        assert ours.recv() == step
        assert process.pid is not None
        os.kill(process.pid, signal.SIGKILL)
        process.join(20)
        assert process.exitcode == -signal.SIGKILL
        for version in registry.versions():
            registry.load(version)
        if step != "judged":
            assert registry.current() == before, f"nothing changes hands before the last step: {step}"
        assert len(registry.versions()) == (2 if step in ("registered", "judged") else 1)
    done = run(folder, hazard=True)
    assert registry.current() in {before, done.manifest.version}
    assert set(registry.versions()) == {before, done.manifest.version}
