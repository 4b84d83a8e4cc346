"""What the subcommands about models do, and what each answers with: one line of JSON."""

from __future__ import annotations

import time
from argparse import Namespace
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import structlog
from numpy.typing import NDArray

from services.trainer import metrics, switch, tracking
from services.trainer.archive import Archive, NotKept
from services.trainer.candidates import candidates_of
from services.trainer.card import card_html
from services.trainer.ceiling import Ceiling, ceiling, read_hidden
from services.trainer.engines import Engine
from services.trainer.examples import Examples, TooFewExamples, TrainingRefused
from services.trainer.experiments import exposures
from services.trainer.experiments.guarding import Guard
from services.trainer.families import Conditions
from services.trainer.job import Answer, Job
from services.trainer.ladder_commands import Climbing
from services.trainer.learning_set import learnt_until_us
from services.trainer.lifecycle.memory import remembered
from services.trainer.maturity.known import Known
from services.trainer.maturity.reading import known_purchases
from services.trainer.monitoring.reading import MonitorReads
from services.trainer.past import Past
from services.trainer.purchased import read_segments
from services.trainer.rescore import rescored
from services.trainer.rounds import told_to_stop
from services.trainer.spans import Span, outside
from services.trainer.split import temporal_split
from services.trainer.tuning import Budget
from services.trainer.warehouse import DriftRow, Evaluation, record
from services.trainer.workflow import PROMOTED_BY, Plan, evaluate_version, train_and_register
from shared.contracts.identity import epoch_micros, from_epoch_micros
from shared.experiments import Experiment
from shared.feature_definitions import FEATURE_SET_VERSION
from shared.feature_definitions.windows import MICROS_PER_DAY
from shared.model_artifact.registry import Pointer
from shared.policy import DEFAULT_POLICY, load_policy
from shared.policy.backtest import Chances, LoggedCase, ProfitCurve, backtest
from shared.policy.exploration import exploration_of
from shared.policy.file import Exploration
from shared.telemetry.metrics import DRIFT_SCORE, MODEL_AUC, MODEL_INFO

log = structlog.get_logger()

ASKED_AT_ONCE = 10_000
"""Logged purchases that a model is asked about, of a backtest."""

STEPS = {
    "train": 18,
    "quality": 3,
    "evaluate": 3,
    "drift": 3,
    "examples": 2,
    "backtest": 1,
    "analyse-experiment": 2,
    "vintages": 2,
}
"""How many steps each command tells of, for a progress bar."""


class Trainer(Job):
    """The subcommands about models."""

    def train(self, arguments: Namespace) -> Answer:
        """Raises Busy where a training with this registry is under way."""
        engine = Engine(arguments.engine, arguments.workers, arguments.scheduler)
        with self._registry.alone("training"), engine.cluster() as cluster:
            return self._train(arguments, cluster)

    def _train(self, arguments: Namespace, cluster: Any) -> Answer:
        section = self._settings.trainer
        without = self._left_out(arguments)
        as_of_us, examples, known = self._learnable(arguments, without)
        # Before the data are checked: that too little has matured is no fault of theirs, and alarms nobody.
        matured = examples.ordered().matured(as_of_us)
        temporal_split(matured, section.validate_share, section.test_share)
        if (found := int(matured.label.sum())) < arguments.defaults:
            raise TooFewExamples(f"{found} defaults have matured; {arguments.defaults} are asked for")
        if section.check_data:
            from services.trainer.quality.gate import refuse_unlike

            refuse_unlike(examples, as_of_us, self._quality_folder, self._alerts, without)
            self._step("data checked")
        # What was asked for on the command line wins; who asks for no promotion doesn't mean the ladder either.
        on_ladder = section.ladder.enabled and arguments.promote if arguments.ladder is None else arguments.ladder
        tuning = Budget(section.tuning_trials, section.tuning_seconds)
        plan = Plan(section.validate_share, section.test_share, section.economics, section.seed, tuning)
        conditions = Conditions(section.seed, section.threads, cluster=cluster)
        candidates = candidates_of(arguments.family or section.family_names, conditions)
        outcome = train_and_register(
            examples,
            as_of_us,
            candidates,
            plan,
            self._registry,
            promote=arguments.promote and not on_ladder,
            examples_of=lambda feature_set: self._warehouse.matured_examples(as_of_us, feature_set, self._propensity),
            arrivals=MonitorReads(self._warehouse).arrivals(FEATURE_SET_VERSION, without),
            known=known,
            segments_of=lambda holdout: read_segments(self._warehouse, holdout),
            progress=self._step,
        )
        manifest, window = outcome.manifest, outcome.manifest.data_window
        top = _ceiling(arguments.hidden, outcome.holdout, outcome.probability)
        # The model is registered: trained anew, it would only be another one.
        figures = _evaluation(manifest.version, manifest.family, "training", outcome.holdout, manifest.metrics, top)
        record(self._warehouse, figures)
        self._step("evaluation written")
        for part, rows in (
            ("train", window.train_rows),
            ("validate", window.validate_rows),
            ("test", window.test_rows),
        ):
            metrics.TRAINING_EXAMPLES.labels(part).set(rows)
        promoted = outcome.promoted
        climbing = None
        if on_ladder and not promoted:
            job = Climbing(self._settings, self._warehouse, self._registry, self._tell)
            climbing = job.let_in(manifest.version, examples.ordered(), as_of_us)
            promoted = climbing.promoted
        shadowed = arguments.shadow and not promoted and not on_ladder  # what a gate refused answers nowhere
        if shadowed:
            switch.add_to_shadow(self._registry, manifest.version, PROMOTED_BY)
        metrics.PROMOTIONS.labels("promoted" if promoted else "kept back").inc()
        MODEL_AUC.labels(manifest.version).set(manifest.metrics["auc"])
        MODEL_INFO.labels(manifest.version, "champion" if promoted else "challenger").set(1)
        report = self._card(manifest.version, outcome.card)
        if section.mlflow_tracking_uri is not None and report is not None:
            tracking.track(section.mlflow_tracking_uri, self._registry, outcome, Path(report), self._seconds)
        return {
            "version": manifest.version,
            "family": manifest.family,
            "model": outcome.name,
            "labels": outcome.card["labels"],
            **_figures(manifest.metrics, top),
            "rows": {"train": window.train_rows, "validate": window.validate_rows, "test": window.test_rows},
            "window": msgspec.to_builtins(window),
            "promoted": promoted,
            "shadow": shadowed or (climbing is not None and climbing.entered),
            "ladder": climbing.answer() if climbing is not None else None,
            "explained": manifest.explained,
            "engine": arguments.engine,
            "fitted_here": sorted({each.family for each in candidates if not each.on_cluster}),
            "reasons": list(outcome.reasons),
            "card": report,
        }

    def _card(self, version: str, card: dict[str, Any]) -> str | None:
        """Where it is; None where it couldn't be written: the registry holds it too."""
        try:
            return self._report(f"model-{version}.html", card_html(version, card))
        except OSError as error:
            log.error("card_not_written", version=version, reason=str(error))
            return None

    def _learnable(self, arguments: Namespace, without: Sequence[Span]) -> tuple[int, Examples, Known | None]:
        """As of when, what has matured by then and, where it is learnt from, all that is known by then."""
        since_us = arguments.since or 0

        def learnt(occurred_us: NDArray[np.int64]) -> NDArray[np.bool_]:
            found: NDArray[np.bool_] = (occurred_us >= since_us) & outside(occurred_us, without)
            return found

        if (arguments.labels or self._settings.trainer.labels) == "matured":
            as_of_us, examples = self._examples(arguments.as_of)
            return as_of_us, examples.take(learnt(examples.occurred_us)), None
        as_of_us = self._warehouse.clock() if arguments.as_of is None else arguments.as_of
        known = known_purchases(self._warehouse, as_of_us, FEATURE_SET_VERSION, self._propensity)
        known = known.take(learnt(known.examples.occurred_us))
        self._step("read")
        return as_of_us, known.settled(), known

    def evaluate(self, arguments: Namespace) -> Answer:
        section = self._settings.trainer
        version = arguments.version or self._current()
        as_of_us, examples = self._examples(arguments.as_of)
        seen, probability, figures = evaluate_version(
            self._registry, version, examples, as_of_us, section.economics, section.seed
        )
        self._step("evaluated")
        top = _ceiling(arguments.hidden, seen, probability)
        manifest = self._registry.load(version).manifest
        later = int((seen.occurred_us > learnt_until_us(manifest.data_window)).sum())
        if later:
            self._warehouse.append_evaluation(_evaluation(version, manifest.family, "matured", seen, figures, top))
        else:
            # Of its own test part alone it says once more what the training said, and confirms nothing.
            log.warning("nothing_matured_since", version=version)
        self._step("evaluation written")
        MODEL_AUC.labels(version).set(figures["auc"])
        return {
            "version": version,
            "family": manifest.family,
            **_figures(figures, top),
            "rows": len(seen),
            "later": later,
        }

    def drift(self, arguments: Namespace) -> Answer:
        from services.trainer.drift import drift_report

        version = arguments.version or self._current()
        manifest = self._registry.load(version).manifest
        names, window = tuple(manifest.feature_names), manifest.data_window
        end_us = arguments.as_of if arguments.as_of is not None else self._warehouse.clock()
        start_us = end_us - int(arguments.days * MICROS_PER_DAY)
        learnt = epoch_micros(window.train_from), epoch_micros(window.validate_from) - 1
        feature_set, broken = manifest.feature_set_version, remembered(self._registry).poisoned
        reference = self._warehouse.features_between(*learnt, names, feature_set, broken)
        current = self._warehouse.features_between(start_us, end_us, names, feature_set)
        self._step("read")
        report = drift_report(reference, current, names, self._settings.trainer.seed)
        self._step("compared")
        span = (from_epoch_micros(start_us), from_epoch_micros(end_us))
        self._warehouse.append_drift(
            [DriftRow(version, item.feature, item.score, item.drifted, *span, len(current)) for item in report.features]
        )
        for item in report.features:
            DRIFT_SCORE.labels(item.feature).set(item.score)
        self._step("written")
        return {
            "version": version,
            "drifted": list(report.drifted),
            "features": len(report.features),
            "rows": {"reference": len(reference), "later": len(current)},
            "html": self._report(f"drift-{version}.html", report.html),
            "json": self._report(f"drift-{version}.json", report.json),
        }

    def backtest(self, arguments: Namespace) -> Answer:
        from services.trainer.backtest_report import figures, page

        policy = load_policy(arguments.policy or DEFAULT_POLICY)
        clock = self._warehouse.clock()
        since_us = 0 if arguments.since is None else arguments.since
        until_us = clock + 1 if arguments.until is None else arguments.until
        as_of_us = clock if arguments.as_of is None else arguments.as_of
        files = self._registry.load(arguments.model) if arguments.model else None
        feature_set = files.manifest.feature_set_version if files else FEATURE_SET_VERSION
        logged = Past(self._warehouse).cases(since_us, until_us, as_of_us, feature_set)
        read = 0

        def asked() -> Iterator[LoggedCase]:
            """As they come: history has no bound, and a purchase with its features takes some kilobytes."""
            nonlocal read
            while some := list(islice(logged, ASKED_AT_ONCE)):
                read += len(some)
                yield from rescored(some, files) if files else (case for case, _ in some)

        economics, chances = self._settings.trainer.economics, Chances(self._exploration)
        curve = ProfitCurve(policy, economics, chances.explored)
        groups = backtest(curve.noting(chances.of(asked())), policy, economics, chances.explored)
        self._step("decided again")
        found = figures(groups)
        if not found["purchases"]:
            raise TrainingRefused("no decided purchase lies in that time")
        title = f"Policy {policy.name}" + (f" with model {arguments.model}" if arguments.model else "")
        report = self._report(f"backtest-{policy.name}.html", page(title, found, groups, curve.points()))
        return {
            "policy": policy.name,
            "model": arguments.model,
            "left_out": read - found["purchases"],
            "chances_unknown": chances.unknown,
            **found,
            "html": report,
        }

    def _exploration(self, policy: str) -> Exploration | None:
        """None where the policy isn't kept."""
        try:
            return exploration_of(Archive(self._registry).policy(policy))
        except (NotKept, ValueError):
            return None

    def replay(self, arguments: Namespace) -> Answer:
        from services.trainer.replay import replay, summary, told
        from services.trainer.stored import StoredDecisions

        policies = [load_policy(path, kept=True) for path in (*arguments.policy, DEFAULT_POLICY)]
        archive, decisions = Archive(self._registry, policies), StoredDecisions(self._warehouse)
        if not arguments.all:
            stored = decisions.of_event(arguments.event_id, arguments.since, arguments.until)
            if stored is None:
                raise TrainingRefused(f"the warehouse holds no decision of the event {arguments.event_id}")
            return told(next(replay([stored], archive))[0])
        return summary(
            replay(decisions.between(arguments.since, arguments.until, arguments.limit), archive), self._step
        )

    def analyse_experiment(self, arguments: Namespace) -> Answer:
        from services.trainer.experiments.analysis import analyse, course
        from services.trainer.experiments.report import page

        guard = self._settings.trainer.guard
        experiment, until_us, champion = self._experiment(arguments.name)
        since_us = exposures.window(experiment, guard.settle_seconds, champion)
        seen = exposures.read(self._warehouse, experiment, since_us, until_us)
        self._step("read")
        found = analyse(seen, experiment, guard.limits, self._settings.trainer.economics, guard.alpha)
        if found["several_models"]:
            log.warning("several_models", experiment=experiment.name, arms=sorted(found["several_models"]))
        courses = {arm.name: course(seen, arm.name, guard.alpha) for arm in experiment.arms}
        self._step("analysed")
        return found | {"html": self._report(f"experiment-{experiment.name}.html", page(found, courses))}

    def guard(self, arguments: Namespace) -> Answer:
        section = self._settings.trainer.guard
        guard = Guard(self._warehouse, self._registry, section.limits, self._alerts, settle_s=section.settle_seconds)
        look = guard.look() if arguments.every is None else guard.watch(arguments.every, told_to_stop())
        return {
            "experiment": look.experiment.name if look.experiment else None,
            "decisions": look.decisions,
            "stopped": look.stopped,
            "reasons": look.reasons,
        }

    def _experiment(self, name: str | None) -> tuple[Experiment, int, Pointer | None]:
        """The experiment that runs, or the last of a name that has ended; until when it is to be read; and of the one
        that runs its champion, from whose promotion on, as the guard does."""
        running = self._registry.trials().experiment
        if running is not None and name in (None, running.name):
            return running, time.time_ns() // 1000, self._registry.pointer("current")
        ended = self._registry.ended_experiments(name) if name is not None else []
        if not ended:
            raise TrainingRefused(
                f"there is no experiment {name}" if name else "no experiment runs: name one that has ended"
            )
        return ended[-1].experiment, epoch_micros(ended[-1].ended_at), None


def _ceiling(hidden: Path | None, seen: Examples, probability: NDArray[np.float64]) -> Ceiling | None:
    return None if hidden is None else ceiling(seen, probability, read_hidden(hidden))


def _figures(figures: dict[str, float], top: Ceiling | None) -> Answer:
    """The figures, and the ceiling beside the model's AUC on the same events (null: not asked for)."""
    return figures | {
        "auc_ceiling": top.auc if top else None,
        "auc_on_ceiling_events": top.model_auc if top else None,
        "ceiling_events": top.events if top else None,
    }


def _evaluation(
    version: str, family: str, kind: str, seen: Examples, figures: dict[str, float], top: Ceiling | None
) -> Evaluation:
    return Evaluation(
        model_version=version,
        family=family,
        kind=kind,
        window_from=from_epoch_micros(int(seen.occurred_us[0])),
        window_to=from_epoch_micros(int(seen.occurred_us[-1])),
        rows=len(seen),
        metrics=figures if top is None else figures | {"auc_ceiling": top.auc, "auc_on_ceiling_events": top.model_auc},
    )
