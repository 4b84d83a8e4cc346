"""Trainings and models in MLflow, over SQLite; and without it."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from services.trainer import tracking
from services.trainer.workflow import Outcome
from shared.experiments import Trials
from shared.model_artifact.registry import ModelRegistry
from tests.unit.scorer.parts import register
from tests.unit.trainer.runs import run

pytestmark = pytest.mark.slow
"""MLflow takes some seconds to import, and some to make its tables."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("tracking")


@pytest.fixture(scope="module")
def registry(folder: Path) -> ModelRegistry:
    return ModelRegistry(str(folder / "models"))


@pytest.fixture(scope="module")
def uri(folder: Path) -> str:
    return f"sqlite:///{folder}/mlflow.db"


@pytest.fixture(scope="module")
def outcome(folder: Path, registry: ModelRegistry, uri: str) -> Outcome:
    done = run(str(registry.root), hazard=False)
    page = folder / "card.html"
    page.write_text("<!doctype html>")
    tracking.track(uri, registry, done, page, {"split": 0.1, "logistic regression, all": 0.2})
    tracking.keep_in_step(uri, registry)
    return done


@pytest.fixture
def client(uri: str, outcome: Outcome) -> Iterator[Any]:
    from mlflow import MlflowClient

    yield MlflowClient(tracking_uri=uri, registry_uri=uri)


def stands_for(client: Any, alias: str) -> str | None:
    from mlflow.exceptions import MlflowException

    try:
        version = client.get_model_version_by_alias(tracking.MODEL, alias)
    except MlflowException:
        return None
    return str(version.tags[tracking.VERSION_TAG])


def test_a_training_is_a_run_with_what_it_was_made_of_and_what_it_made(
    client: Any, outcome: Outcome, registry: ModelRegistry, tmp_path: Path
) -> None:
    experiment = client.get_experiment_by_name(tracking.EXPERIMENT)
    (found,) = client.search_runs([experiment.experiment_id])
    assert found.info.status == "FINISHED"
    assert found.data.metrics["auc"] == outcome.manifest.metrics["auc"]
    assert found.data.metrics["seconds/split"] == 0.1
    assert found.data.params["family"] == outcome.manifest.family
    assert found.data.params["labels.kind"] == "matured"
    assert found.data.params["data.data_sha256"] == outcome.manifest.data_window.data_sha256
    kept = Path(client.download_artifacts(found.info.run_id, "model", str(tmp_path)))
    model = registry.root / "models" / outcome.manifest.version
    assert {path.name: path.read_bytes() for path in kept.iterdir()} == {
        path.name: path.read_bytes() for path in model.iterdir()
    }


def test_the_aliases_follow_the_registry(client: Any, uri: str, outcome: Outcome, registry: ModelRegistry) -> None:
    trained = outcome.manifest.version
    assert (stands_for(client, "champion"), stands_for(client, "challenger")) == (trained, None)
    other = register(registry, intercept=-1.5)  # registered when nobody tracked anything
    registry.change_trials(lambda _: Trials(shadow=[other]))
    tracking.keep_in_step(uri, registry)
    assert (stands_for(client, "champion"), stands_for(client, "challenger")) == (trained, other)
    mirror = tracking.Mirror(uri, registry)
    assert mirror.round() and not mirror.round()
    registry.promote(other, "test")
    registry.change_trials(lambda _: Trials())
    assert mirror.round(), "whoever moved it"
    assert (stands_for(client, "champion"), stands_for(client, "challenger")) == (other, None)
    registry.rollback("test")
    tracking.keep_in_step(uri, registry)
    assert stands_for(client, "champion") == trained
    assert len(client.search_model_versions(f"name = '{tracking.MODEL}'")) == 2, "each version is there once"


def test_whatever_its_store_of_files_raises_fails_the_run_and_nothing_else(
    client: Any, uri: str, outcome: Outcome, registry: ModelRegistry, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def forbidden(*_: object) -> str:
        raise RuntimeError("403 of a store's own client")

    monkeypatch.setattr(tracking, "_mirrored", forbidden)
    tracking.track(uri, registry, outcome, folder / "card.html", {})
    experiment = client.get_experiment_by_name(tracking.EXPERIMENT)
    latest = client.search_runs([experiment.experiment_id], order_by=["attributes.start_time DESC"])[0]
    assert latest.info.status == "FAILED"


def test_where_mlflow_is_away_nothing_fails_and_it_is_logged(
    outcome: Outcome, registry: ModelRegistry, folder: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    with socket.socket() as silent:  # takes connections and never answers
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        away = f"http://127.0.0.1:{silent.getsockname()[1]}"
        tracking.track(away, registry, outcome, folder / "card.html", {})
        tracking.keep_in_step(away, registry)
    tracking.keep_in_step("no-such-scheme://anywhere", registry)
    assert capsys.readouterr().out.count("mlflow_away") == 3
