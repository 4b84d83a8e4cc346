"""The subcommand `watch`: the loop with its hands on the warehouse and the registry."""

from __future__ import annotations

import threading
from argparse import Namespace
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

import structlog

from services.trainer import cli
from services.trainer.commands import Trainer
from services.trainer.examples import TooFewExamples, TrainingRefused
from services.trainer.experiments.guarding import Guard
from services.trainer.export import ExportRefused
from services.trainer.families import FamilyRefused
from services.trainer.job import Answer, Job
from services.trainer.ladder_commands import Climbing
from services.trainer.lifecycle.harm import Harm
from services.trainer.lifecycle.memory import keep, remembered
from services.trainer.lifecycle.reading import seen_of
from services.trainer.lifecycle.triggers import Came, Climber, Seen, State, Trigger
from services.trainer.lifecycle.watch import Advanced, Hands, Transient, Watch
from services.trainer.monitoring.command import Monitoring
from services.trainer.promotion.ladder import LadderRefused
from services.trainer.promotion.looking import Look
from services.trainer.rounds import told_to_stop
from services.trainer.tracking import Mirror
from services.trainer.warehouse import Warehouse, WarehouseUnavailable
from shared.contracts.identity import epoch_micros, from_epoch_micros
from shared.experiments import Stage
from shared.feature_definitions.windows import MICROS_PER_DAY, MICROS_PER_HOUR
from shared.model_artifact.alone import Busy
from shared.model_artifact.manifest import ArtifactRefused
from shared.model_artifact.registry import ModelRegistry, PromotionConflict, RegistryAway

log = structlog.get_logger()

COMMANDS = ("watch",)
Kind = TypeVar("Kind", bound=Job)


class Remembered:
    """The loop's memory, in the registry."""

    def __init__(self, registry: ModelRegistry) -> None:
        self._registry = registry

    def read(self) -> State:
        with _away_is_transient():
            return remembered(self._registry)

    def write(self, state: State) -> None:
        with _away_is_transient():
            keep(self._registry, state)


class Watching(Job):
    """The subcommands named in `COMMANDS`."""

    _drifting = False
    """At the last look: the details of a drift are drawn as it begins, not each day while it lasts."""

    def watch(self, arguments: Namespace) -> Answer:
        """Until told to stop; what the last round came to. The experiment that runs is guarded beside it, and while it
        trains whoever is on probation too, in threads of their own: a training takes minutes, and harm must not wait
        for it. Where trainings are tracked in MLflow, its aliases follow in another."""
        section, stop = self._settings.trainer, told_to_stop()
        guard = Guard(
            Warehouse(self._settings.bigquery),
            self._registry,
            section.guard.limits,
            self._alerts,
            settle_s=section.guard.settle_seconds,
        )
        lifecycle, memory = section.lifecycle, Remembered(self._registry)
        guard_every_us = int(lifecycle.guard_hours * MICROS_PER_HOUR)
        another = Watching(self._settings, Warehouse(self._settings.bigquery), self._registry, lambda _: None)
        harm = Harm(
            another._clock_of_probation, lambda state: another._look_at_ladder(state, False), memory, guard_every_us
        )

        def train(trigger: Trigger, state: State) -> Came:
            harm.training.set()
            try:
                return self._train(trigger, state)
            finally:
                harm.training.clear()

        hands = Hands(clock=self._clock, look=self._look, advance=self._advance, train=train)
        loop = Watch(hands, memory, lifecycle.plan, int(lifecycle.look_days * MICROS_PER_DAY), guard_every_us)
        watches: list[Callable[[float, threading.Event], object]] = [guard.watch, harm.watch]
        if section.mlflow_tracking_uri is not None:
            watches.append(Mirror(section.mlflow_tracking_uri, self._registry).watch)
        with ThreadPoolExecutor(len(watches), "guard") as beside:
            guarding = [beside.submit(watch, arguments.every, stop) for watch in watches]
            for each in guarding:
                each.add_done_callback(lambda _: stop.set())  # without its guards the loop must not go on
            try:
                last = loop.run(arguments.every, stop)
            finally:
                stop.set()
            for each in guarding:
                each.result()
        return {"looked": last.looked, "trigger": last.trigger, "why": last.why, "candidate": last.candidate}

    def _clock(self) -> int | None:
        try:
            with _away_is_transient():
                return self._warehouse.clock()
        except TrainingRefused:
            return None

    def _clock_of_probation(self) -> int | None:
        with _away_is_transient():
            climbing = self._registry.trials().climbing
        return self._clock() if climbing and climbing[0].stage is Stage.PROBATION else None

    def _look(self, clock_us: int) -> Seen:
        with _away_is_transient():
            if self._registry.current() is None:
                return Seen(clock_us)
            try:
                look, _ = self._as(Monitoring).look(clock_us, in_detail=False if self._drifting else None)
            except (TrainingRefused, ArtifactRefused) as refused:
                log.error("look_refused", reason=str(refused))
                return Seen(clock_us, blind=str(refused))
        seen = seen_of(look, clock_us)
        self._drifting = seen.drifted_from_us is not None
        return seen

    def _advance(self, state: State, further: bool) -> Advanced:
        found = self._look_at_ladder(state, further)
        with _away_is_transient():
            trials = self._registry.trials()
        if not trials.climbing:
            return Advanced(None, found.switched)
        last = trials.climbing[-1]
        replaceable = last.stage is Stage.SHADOW and last == trials.candidacy
        climber = Climber(last.version, last.stage, replaceable, serves=last.stage is Stage.PROBATION)
        return Advanced(climber, found.switched)

    def _look_at_ladder(self, state: State, further: bool) -> Look:
        with _away_is_transient():
            try:
                return self._as(Climbing).look(further=further, without=state.poisoned)
            except (LadderRefused, PromotionConflict) as conflict:
                log.info("not_advanced", reason=str(conflict))  # somebody else moved it: the next look sees how
                return Look()

    def _train(self, trigger: Trigger, state: State) -> Came:
        since_us = state.changed_at_us
        if since_us is None:
            since_us = champion_learnt_from(self._registry)
        log.info("training_begins", trigger=trigger, since=None if since_us is None else from_epoch_micros(since_us))
        asked = cli.parse(["train", "--ladder"])
        asked.since, asked.without = since_us, state.poisoned
        with _away_is_transient():
            if self._registry.current() is None:
                asked.defaults = self._settings.trainer.lifecycle.first_defaults
            try:
                answer = self._as(Trainer).train(asked)
            except TooFewExamples as early:
                log.info("training_too_early", trigger=trigger, reason=str(early))
                return Came.TOO_EARLY
            except Busy as busy:
                log.info("training_put_off", trigger=trigger, reason=str(busy))
                return Came.BUSY
            except (TrainingRefused, ExportRefused, FamilyRefused, LadderRefused, PromotionConflict) as refused:
                log.warning("training_in_vain", trigger=trigger, reason=str(refused))
                return Came.IN_VAIN
        log.info("training_done", trigger=trigger, version=answer["version"], promoted=answer["promoted"])
        return Came.CANDIDATE if answer["promoted"] or answer["shadow"] else Came.IN_VAIN

    def _as(self, kind: type[Kind]) -> Kind:
        return kind(self._settings, self._warehouse, self._registry, self._tell)


def champion_learnt_from(registry: ModelRegistry) -> int | None:
    """Of which time on, in microseconds; None where no model is in service, or one that can't be read. What is older
    than that isn't learnt from again: a champion that was trained after a change left the time before out since it
    taught another world."""
    with _away_is_transient():
        current = registry.current()
        try:
            return None if current is None else epoch_micros(registry.load(current).manifest.data_window.train_from)
        except ArtifactRefused as refused:
            log.error("champion_unreadable", version=current, reason=str(refused))
            return None


@contextmanager
def _away_is_transient() -> Iterator[None]:
    try:
        yield
    except (WarehouseUnavailable, RegistryAway, ArtifactRefused, PromotionConflict, OSError) as away:
        raise Transient(str(away)) from away
