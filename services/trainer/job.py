"""What all subcommands have in common: one warehouse, one registry, and whom to tell of each step."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable, Sequence
from pathlib import Path
from time import perf_counter
from typing import Any

import structlog

from services.trainer import metrics
from services.trainer.archive import Archive, NotKept
from services.trainer.examples import Examples, TooEarly, TrainingRefused
from services.trainer.lifecycle.memory import remembered
from services.trainer.settings import TrainerSettings
from services.trainer.spans import Span
from services.trainer.warehouse import Warehouse
from shared.alerts import Alerts
from shared.feature_definitions import FEATURE_SET_VERSION
from shared.model_artifact.registry import ModelRegistry
from shared.policy.exploration import propensity

log = structlog.get_logger()

Answer = dict[str, Any]


class Job:
    """`step` is told of each step done."""

    def __init__(
        self, settings: TrainerSettings, warehouse: Warehouse, registry: ModelRegistry, step: Callable[[str], None]
    ) -> None:
        self._settings, self._warehouse, self._registry = settings, warehouse, registry
        self._tell = step
        self._alerts = Alerts(settings.alerts, "trainer")
        self._last = perf_counter()
        self._seconds: dict[str, float] = {}
        """Of each step done so far."""

    def _step(self, name: str) -> None:
        now = perf_counter()
        self._seconds[name] = now - self._last
        metrics.TRAINING_SECONDS.labels(name.partition(",")[0]).set(self._seconds[name])
        self._last = now
        log.info("step_done", step=name, seconds=round(self._seconds[name], 3))
        self._tell(name)

    def _examples(self, as_of_us: int | None) -> tuple[int, Examples]:
        as_of_us = self._warehouse.clock() if as_of_us is None else as_of_us
        examples = self._warehouse.matured_examples(as_of_us, FEATURE_SET_VERSION, self._propensity)
        self._step("read")
        return as_of_us, examples

    def _propensity(self, policy: str) -> float:
        """With which a policy approved what it approved by chance. Raises TrainingRefused where it isn't kept: such
        purchases would stand for themselves alone, and the model would be too hopeful."""
        try:
            return propensity(Archive(self._registry).policy(policy))
        except (NotKept, ValueError) as error:
            raise TrainingRefused(f"purchases were approved by chance, nobody knows how often: {error}") from None

    def _left_out(self, arguments: Namespace) -> Sequence[Span]:
        """Times whose purchases are neither learnt from nor evidence: what was asked for, else those of which the loop
        remembers that their input was broken, whoever calls."""
        asked: Sequence[Span] | None = arguments.without
        return remembered(self._registry).poisoned if asked is None else asked

    def _current(self) -> str:
        version = self._registry.current()
        if version is None:
            raise TooEarly("no model is in service: name a version, or train one")
        return version

    def _report(self, name: str, content: str) -> str:
        folder = Path(self._settings.trainer.reports)
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / name
        path.write_text(content)
        return str(path)

    @property
    def _quality_folder(self) -> Path:
        return Path(self._settings.trainer.reports) / "quality"
