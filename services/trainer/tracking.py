"""Trainings as runs of MLflow, and our registry mirrored in its own: for people who look at models there.

Ours stays the truth. MLflow's registry moves an alias to whatever it is told last, without asking what the caller
believed it to be, so it can't refuse the second of two promotions at once (docs/adr/0035). What is written here
follows ours, and nothing reads it back.

MLflow may be away, or not even installed: that is logged, and never fails or holds up what was asked for.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import structlog

from services.trainer import metrics
from services.trainer.rounds import until_stopped
from services.trainer.workflow import Outcome
from shared.model_artifact.manifest import ArtifactRefused
from shared.model_artifact.registry import ModelRegistry, RegistryAway

log = structlog.get_logger()

EXPERIMENT = MODEL = "flit-risk"
CHAMPION, CHALLENGER = "champion", "challenger"
VERSION_TAG = "flit_version"
"""Of a model version there: the version here, which its own numbers say nothing of."""

MOVING = frozenset({"train", "promote", "rollback", "shadow", "experiment", "guard", "advance", "enter", "withdraw"})
"""Commands after which another version may be in service or on trial."""

PARAMETER_CHARACTERS = 500
"""Of one: more is refused by its older servers."""

CONDITIONS = {
    # A server that doesn't answer holds a training up for as long, once: the first failure ends the attempt.
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "5",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    # It would tell its makers of each run.
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
}
"""In the environment, unless set otherwise, before MLflow is imported: it reads them nowhere else."""

_SQLITE = "sqlite:///"


def track(uri: str, registry: ModelRegistry, outcome: Outcome, page: Path, seconds: Mapping[str, float]) -> None:
    """A training as a run: parameters, metrics, seconds of each step, the card's `page` and the registered files; and
    its version there."""

    def work(client: Any) -> None:
        run = _run(client, uri, outcome.name)
        try:
            tell(client, run)
        except BaseException:
            client.set_terminated(run, "FAILED")
            raise
        client.set_terminated(run)

    def tell(client: Any, run: str) -> None:
        card = outcome.card
        parameters = {"model": outcome.name, "family": outcome.manifest.family, "promoted": outcome.promoted}
        parameters |= _flat("labels", card["labels"]) | _flat("settings", card["settings"])
        parameters |= _flat("data", card["data"]) | _flat("economics", card["economics"])
        for name, value in parameters.items():
            client.log_param(run, name, str(value)[:PARAMETER_CHARACTERS])
        for name, figure in outcome.manifest.metrics.items():
            client.log_metric(run, name, figure)
        for name, taken in seconds.items():
            client.log_metric(run, f"seconds/{_plain(name)}", taken)
        client.set_tag(run, "reasons", "\n".join(outcome.reasons))
        client.log_artifact(run, str(page))
        _mirrored(client, registry, outcome.manifest.version, run)

    _attempt(uri, "training", work)


def keep_in_step(uri: str, registry: ModelRegistry) -> bool:
    """The alias `champion` at what is in service here, `challenger` at what decides for some or answers in shadow; one
    that nothing stands for is taken away. Whether they are."""

    def work(client: Any) -> None:
        for alias, version in _standing(registry).items():
            if version is not None:
                number = _mirrored(client, registry, version, None, uri)
                client.set_registered_model_alias(MODEL, alias, number)
            elif alias in _aliases(client):
                client.delete_registered_model_alias(MODEL, alias)

    return _attempt(uri, "aliases", work)


class Mirror:
    """Keeps MLflow's aliases in step while others move what they stand for: the loop that looks after the models, and
    people beside it."""

    def __init__(self, uri: str, registry: ModelRegistry) -> None:
        self._uri, self._registry = uri, registry
        self._told: dict[str, str | None] | None = None

    def round(self) -> bool:
        """Whether there was something to tell, and it was told. Raises what the registry does where it is away."""
        standing = _standing(self._registry)
        if standing == self._told or not keep_in_step(self._uri, self._registry):
            return False
        self._told = standing
        return True

    def watch(self, every_s: float, stop: threading.Event) -> bool:
        """Rounds until told to stop."""
        away = (RegistryAway, ArtifactRefused, OSError)
        return until_stopped(
            self.round, False, every_s, stop, away=away, failures=metrics.ROUNDS, event="aliases_not_kept"
        )


def _standing(registry: ModelRegistry) -> dict[str, str | None]:
    """Alias → version here."""
    trials = registry.trials()
    arms = [arm.model_version for arm in trials.experiment.arms] if trials.experiment is not None else []
    challengers = [*arms, *reversed(trials.shadow)]
    return {CHAMPION: registry.current(), CHALLENGER: challengers[0] if challengers else None}


def _attempt(uri: str, what: str, work: Callable[[Any], None]) -> bool:
    """Whether it went well."""
    for name, value in CONDITIONS.items():
        os.environ.setdefault(name, value)
    try:
        from mlflow import MlflowClient

        work(MlflowClient(tracking_uri=uri, registry_uri=uri))
    except Exception as error:  # noqa: BLE001  # each of its stores of files has a client, and errors, of its own
        log.warning("mlflow_away", what=what, reason=str(error)[:500], error=type(error).__name__)
        return False
    return True


def _run(client: Any, uri: str, name: str) -> str:
    """The id of a new run."""
    found = client.get_experiment_by_name(EXPERIMENT)
    if found is not None:
        experiment = found.experiment_id
    else:
        # Beside the database; a server knows where it keeps files.
        beside = Path(uri.removeprefix(_SQLITE)).resolve().parent / "mlflow-artifacts"
        location = beside.as_uri() if uri.startswith(_SQLITE) else None
        experiment = client.create_experiment(EXPERIMENT, artifact_location=location)
    return str(client.create_run(experiment, run_name=name).info.run_id)


def _mirrored(client: Any, registry: ModelRegistry, version: str, run: str | None, uri: str = "") -> str:
    """The number there of a version here, which is copied there if it isn't yet, into the run (None: one of its own).
    Raises ArtifactRefused for one that doesn't verify."""
    from mlflow.exceptions import MlflowException

    try:
        client.create_registered_model(MODEL)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    found = client.search_model_versions(f"name = '{MODEL}' and tag.{VERSION_TAG} = '{version}'")
    if run is None and found:
        return str(found[0].version)
    registry.load(version)
    into = run or _run(client, uri, f"version {version}")
    client.log_artifacts(into, str(registry.root / "models" / version), "model")
    if run is None:
        client.set_terminated(into)
    if found:
        return str(found[0].version)
    made = client.create_model_version(MODEL, source=f"runs:/{into}/model", run_id=into, tags={VERSION_TAG: version})
    return str(made.version)


def _aliases(client: Any) -> set[str]:
    from mlflow.exceptions import MlflowException

    try:
        return set(client.get_registered_model(MODEL).aliases)
    except MlflowException as error:
        if error.error_code == "RESOURCE_DOES_NOT_EXIST":
            return set()
        raise


def _flat(prefix: str, values: Any) -> dict[str, object]:
    return {f"{prefix}.{name}": value for name, value in values.items()}


def _plain(name: str) -> str:
    """What MLflow takes in a metric's name."""
    return "".join(each if each.isalnum() or each in "_-. /" else "-" for each in name)
