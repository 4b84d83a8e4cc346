"""The subcommands about the ladder: onto it, one look at it, off it."""

from __future__ import annotations

import uuid
from argparse import Namespace
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

from services.trainer.cli import BY_HAND
from services.trainer.examples import Examples
from services.trainer.experiments.exposures import read_all
from services.trainer.gates import groups, mismatch
from services.trainer.gates.examine import Examiner
from services.trainer.job import Answer, Job
from services.trainer.monitoring.alarms import WEEK
from services.trainer.past import Past, Sample
from services.trainer.promotion import stricter
from services.trainer.promotion.entry import Entered, Entry
from services.trainer.promotion.judgement import Judge
from services.trainer.promotion.ladder import LADDER, Ladder
from services.trainer.promotion.looking import Look, Looking
from services.trainer.promotion.telling import Telling
from services.trainer.reprocess import Wanted, reprocess
from services.trainer.spans import Span, outside
from shared.feature_definitions import FEATURE_SET_VERSION
from shared.feature_definitions.windows import MICROS_PER_DAY
from shared.telemetry.process import EXIT_FAILED

COMMANDS = ("advance", "enter", "withdraw")

SAMPLED_CUSTOMERS = 500
"""A fault in one vector of a hundred is found with near certainty; it takes seconds."""


class Climbing(Job):
    """The subcommands named in `COMMANDS`, and what `train --ladder` asks for."""

    def enter(self, arguments: Namespace) -> Answer:
        as_of_us, examples = self._examples(arguments.as_of)
        examples = examples.take(outside(examples.occurred_us, self._left_out(arguments)))
        entered = self.let_in(arguments.version, examples, as_of_us, by=BY_HAND, again=arguments.again)
        return entered.answer() | {"exit_status": 0 if entered.entered or entered.promoted else EXIT_FAILED}

    def let_in(
        self,
        version: str,
        examples: Examples,
        as_of_us: int,
        examples_of: Callable[[str], Examples] | None = None,
        *,
        by: str = LADDER,
        again: bool = False,
    ) -> Entered:
        """A registered version to the gates, and onto the ladder where it passes."""
        section = self._settings.trainer
        self._make_again(as_of_us)
        examiner = Examiner(
            self._registry,
            groups.of_warehouse(self._warehouse),
            mismatch.of_warehouse(self._warehouse, as_of_us),
            section.gates.limits,
            section.economics,
            section.seed,
        )
        stricter_than = stricter.of_warehouse(self._warehouse, self._registry, as_of_us)
        entry = Entry(self._registry, examiner, Ladder(self._registry), self._telling, stricter_than)
        found = entry.enter(version, examples, as_of_us, examples_of or self._examples_of(as_of_us), by=by, again=again)
        self._step("examined")
        return found

    def _make_again(self, as_of_us: int) -> None:
        """The features of some customers' purchases of the last week, for the gate that compares them with those that
        were decided on. A whole `reprocess` would go through all of history."""
        until_us = as_of_us + 1
        since_us = until_us - WEEK * MICROS_PER_DAY
        past = Past(self._warehouse, Sample(since_us, until_us, SAMPLED_CUSTOMERS))
        load_id = f"sampled-{FEATURE_SET_VERSION}-{uuid.uuid4().hex[:8]}"
        wanted = Wanted(FEATURE_SET_VERSION, since_us, until_us, load_id)
        try:
            for partition in past.partitions():
                reprocess(past, partition, wanted, lambda: datetime.now(UTC))
        finally:
            # An erasure doesn't wait for readers: whoever was erased meanwhile may have been written once more.
            past.forget_erased(FEATURE_SET_VERSION)
        self._step("features made again")

    def advance(self, arguments: Namespace) -> Answer:
        return self.look(without=self._left_out(arguments)).answer()

    def look(self, *, further: bool = True, without: Sequence[Span] = ()) -> Look:
        """At whoever is on the ladder: at most one step, told of. `further`: not only out; else one in shadow, which
        harms nobody, isn't looked at. `without`: purchases of these times are evidence for nothing."""
        section = self._settings.trainer
        judge = Judge(section.ladder.requirements, section.guard.limits, section.economics)
        looking = Looking(
            self._registry,
            Ladder(self._registry),
            judge,
            lambda since, until: read_all(self._warehouse, since, until).without(without),
        )
        found = looking.look(further=further)
        self._step("looked")
        if found.moved is not None:
            self._telling.moved(found.moved)
        return found

    def withdraw(self, arguments: Namespace) -> Answer:
        withdrawn = Ladder(self._registry).withdraw([arguments.why], BY_HAND, arguments.version)
        self._telling.moved(withdrawn)
        return {"version": withdrawn.version, "stage": withdrawn.stage, "current": self._registry.current()}

    def _examples_of(self, as_of_us: int) -> Callable[[str], Examples]:
        return lambda feature_set: self._warehouse.matured_examples(as_of_us, feature_set, self._propensity)

    @property
    def _telling(self) -> Telling:
        return Telling(self._registry, self._warehouse, self._alerts)
