"""Whatever happens in whatever order, with crashes between two writes and people acting between them, the ladder keeps
its promises. Over a real registry in a folder."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import msgspec
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, rule

from services.trainer.evaluate import Economics
from services.trainer.experiments.exposures import Exposures, _ordered
from services.trainer.promotion.judgement import Action, Judge, Ruling
from services.trainer.promotion.ladder import LADDER, Ladder, LadderRefused
from services.trainer.promotion.looking import Looking
from services.trainer.promotion.requirements import Requirements
from shared.experiments import ENDED, FAILED, Arm, Candidacy, Experiment, Stage
from shared.model_artifact.manifest import ArtifactRefused
from shared.model_artifact.registry import ModelRegistry, PromotionConflict
from tests.unit.model_artifact.artifacts import a_manifest, some_files
from tests.unit.trainer.experiments.traffic import LIMITS

PERSON = "operator"
MODELS = 4
REQUIREMENTS = Requirements(0.05, 1, 0, 0.1, 1, 1, 0, 1, 0, settle_seconds=-1.0)
"""Nothing is missing: what a look finds is drawn."""

NEXT = {
    Stage.SHADOW: {Stage.CANARY},
    Stage.CANARY: {Stage.PROMOTING},
    Stage.PROMOTING: {Stage.PROBATION},
    Stage.PROBATION: {Stage.CONFIRMED, Stage.ROLLING_BACK, Stage.ROLLED_BACK},
    Stage.ROLLING_BACK: {Stage.ROLLED_BACK},
}
BEFORE_SERVICE = {Stage.OUTDATED, Stage.WITHDRAWN}


class Crash(BaseException):
    """The process is gone: nothing catches it."""


class Fragile(ModelRegistry):
    """A registry whose process dies at some write, or to whom somebody else comes first."""

    crash_before: int | None = None
    crash_after: int | None = None
    meanwhile: tuple[int, Callable[[], None]] | None = None
    writes = locks = 0

    def _write_pointer(self, name: str, pointer: msgspec.Struct) -> None:
        self.writes += 1
        if self.writes == self.crash_before:
            raise Crash
        super()._write_pointer(name, pointer)
        if self.writes == self.crash_after:
            raise Crash

    @contextmanager
    def _locked(self) -> Iterator[None]:
        self.locks += 1
        if self.meanwhile is not None and self.meanwhile[0] == self.locks:
            self.meanwhile[1]()
        with super()._locked():
            yield


@dataclass(frozen=True)
class Drawn(Judge):
    """Finds what it is told to."""

    action: Action

    def _drawn(self) -> Ruling:
        return Ruling(self.action, ("as drawn",), ("something",) if self.action is Action.WAIT else ())

    def in_shadow(self, seen: Exposures, candidacy: Candidacy) -> Ruling:
        return self._drawn()

    def in_canary(self, seen: Exposures, candidacy: Candidacy, experiment: Experiment) -> Ruling:
        return self._drawn()

    def on_probation(self, seen: Exposures, candidacy: Candidacy) -> Ruling:
        return self._drawn()


PEOPLE = st.sampled_from(["promote", "rollback", "withdraw", "no shadow", "no experiment", "an experiment"])
TROUBLE = st.one_of(
    st.none(),
    st.tuples(st.sampled_from(["crash before", "crash after"]), st.integers(1, 5)),
    st.tuples(st.just("meanwhile"), st.integers(1, 5), PEOPLE, st.integers(0, MODELS - 1)),
)


class LadderMachine(RuleBasedStateMachine):
    versions = Bundle("versions")

    @initialize(target=versions)
    def first_model(self) -> str:
        self.folder = tempfile.mkdtemp()
        registry = self.registry()
        self.known = [
            registry.register(a_manifest(), some_files(f"graph {number}".encode())) for number in range(MODELS)
        ]
        self.failed: set[str] = set()
        """Withdrawn or rolled back, and not wanted again by a person since."""
        self.by_hand: set[str] = set()
        """Put in service by a person since they failed."""
        self.clock = 0
        registry.promote(self.known[0], PERSON)
        return self.known[0]

    def registry(self) -> Fragile:
        return Fragile(self.folder)

    def now(self) -> str:
        self.clock += 1
        return f"2026-06-01T{self.clock // 3600:02d}:{self.clock // 60 % 60:02d}:{self.clock % 60:02d}.000000Z"

    def acting(self, trouble: Any, act: Callable[[Fragile], None]) -> None:
        """One process at it, in trouble or not."""
        registry = self.registry()
        match trouble:
            case ("crash before", number):
                registry.crash_before = number
            case ("crash after", number):
                registry.crash_after = number
            case ("meanwhile", number, what, which):
                registry.meanwhile = (number, lambda: self.person(what, which))
        with suppress(Crash):
            act(registry)
        self.note_failures()

    def note_failures(self) -> None:
        trials = self.registry().trials()
        for each in (trials.candidacy, trials.successor):
            if each is not None and each.stage in FAILED:
                self.failed.add(each.version)

    def person(self, what: str, which: int) -> None:
        registry, version = self.registry(), self.known[which]
        with suppress(ArtifactRefused, LadderRefused):
            if what == "promote":
                registry.promote(version, PERSON)
                self.by_hand.add(version)
            elif what == "rollback":
                self.by_hand.add(registry.rollback(PERSON))
            elif what == "withdraw":
                gone = Ladder(registry, self.now).withdraw(["by hand"], PERSON)
                self.by_hand.discard(gone.version)
                assert registry.current() != gone.version or gone.champion != registry.current()
            elif what == "no shadow":
                registry.change_trials(lambda before: msgspec.structs.replace(before, shadow=[]))
            else:
                other = Experiment("spring", "salt", [Arm("arm", 0.1, version)], self.now(), PERSON)
                wanted = other if what == "an experiment" else None
                registry.change_trials(lambda before: msgspec.structs.replace(before, experiment=wanted), by=PERSON)
        self.note_failures()

    @rule(action=st.sampled_from(list(Action)), trouble=TROUBLE)
    def look(self, action: Action, trouble: Any) -> None:
        self._look(action, trouble)

    @rule(
        which=st.integers(0, MODELS - 1), looks=st.integers(0, 3), action=st.sampled_from(list(Action)), trouble=TROUBLE
    )
    def one_climbs_and_then_there_is_trouble(self, which: int, looks: int, action: Action, trouble: Any) -> None:
        """What drawing step by step would hardly ever reach."""
        self._enter(which, None)
        for _ in range(looks):
            self._look(Action.ON, None)
        self._look(action, trouble)

    def _look(self, action: Action, trouble: Any) -> None:
        before = self.registry().pointer("current")
        trials = self.registry().trials()
        climbing = trials.climbing
        candidacy = climbing[0] if climbing else trials.candidacy

        def look(registry: Fragile) -> None:
            looking = Looking(
                registry,
                Ladder(registry, self.now),
                Drawn(REQUIREMENTS, LIMITS, Economics(), action),
                lambda *_: _ordered({}),
                lambda: 2**60,
            )
            looking.look()

        self.acting(trouble, look)
        after = self.registry().pointer("current")
        if after is None or before == after or after.by != LADDER:
            return
        assert candidacy is not None
        stages = [step.stage for step in candidacy.steps]
        if after.version == candidacy.version:
            assert Stage.CANARY in stages, "no step is skipped"
        else:
            assert after.version == candidacy.champion
            assert stages[-1] in (Stage.PROBATION, Stage.ROLLING_BACK)
        if not (trouble and trouble[0] == "meanwhile"):
            assert before is not None
            assert before.version in (candidacy.champion, candidacy.version), "what a person put there stays"

    @rule(which=st.integers(0, MODELS - 1), trouble=TROUBLE)
    def a_training_enters_its_model(self, which: int, trouble: Any) -> None:
        self._enter(which, trouble)

    def _enter(self, which: int, trouble: Any) -> None:
        def enter(registry: Fragile) -> None:
            champion = registry.current()
            assert champion is not None
            if champion == self.known[which]:
                return
            with suppress(LadderRefused):
                Ladder(registry, self.now).enter(self.known[which], champion, ["all gates passed"], LADDER)

        self.acting(trouble, enter)

    @rule(
        climbs=st.integers(0, MODELS - 1), follows=st.integers(0, MODELS - 1), action=st.sampled_from(list(Action)),
        looks=st.integers(1, 3), entering=TROUBLE, trouble=TROUBLE,
    )  # fmt: skip
    def one_serves_on_probation_and_another_follows(
        self, climbs: int, follows: int, action: Action, looks: int, entering: Any, trouble: Any
    ) -> None:
        self._enter(climbs, None)
        self._look(Action.ON, None)
        self._look(Action.ON, None)
        self._enter(follows, entering)
        self._look(action, trouble)
        for _ in range(looks):
            self._look(action, None)

    @rule(what=PEOPLE, which=st.integers(0, MODELS - 1))
    def somebody_acts(self, what: str, which: int) -> None:
        self.person(what, which)

    @invariant()
    def what_is_in_service_is_a_verified_model(self) -> None:
        registry = self.registry()
        current = registry.current()
        assert current is not None
        registry.load(current).must_explain()

    @invariant()
    def no_step_is_skipped(self) -> None:
        trials = self.registry().trials()
        for candidacy in filter(None, (trials.candidacy, trials.successor)):
            stages = [step.stage for step in candidacy.steps]
            assert stages[0] is Stage.SHADOW
            for one, other in pairwise(stages):
                allowed = NEXT[one] | ({Stage.OUTDATED} if one is Stage.PROBATION else BEFORE_SERVICE)
                assert other in allowed, stages
            assert all(stage not in ENDED for stage in stages[:-1])

    @invariant()
    def a_successor_is_in_shadow_and_beside_nobody_who_still_climbs(self) -> None:
        trials = self.registry().trials()
        successor, candidacy = trials.successor, trials.candidacy
        if successor is None:
            return
        assert successor.stage in {Stage.SHADOW, *BEFORE_SERVICE}
        if not successor.ended and candidacy is not None and not candidacy.ended:
            assert candidacy.stage in (Stage.PROBATION, Stage.ROLLING_BACK)
            assert candidacy.version != successor.version
            assert candidacy.champion != successor.version

    @invariant()
    def who_has_failed_does_not_come_back_by_itself(self) -> None:
        registry = self.registry()
        trials, pointer = registry.trials(), registry.pointer("current")
        active = [each.version for each in trials.climbing]
        for version in self.failed:
            assert version not in active
            assert pointer is None or pointer.version != version or version in self.by_hand
            running = trials.experiment
            assert running is None or running.by == PERSON or version not in [a.model_version for a in running.arms]

    @invariant()
    def whoever_is_off_the_ladder_is_out_of_shadow_and_canary(self) -> None:
        trials = self.registry().trials()
        active = [each.version for each in trials.climbing]
        kept = [each.champion for each in trials.climbing if each.stage not in (Stage.SHADOW, Stage.CANARY)]
        for ended in filter(None, (trials.candidacy, trials.successor)):
            if ended.ended and ended.version not in active:
                assert ended.version not in trials.shadow or ended.version in kept
        if not active and (trials.candidacy or trials.successor):
            assert trials.experiment is None or trials.experiment.by == PERSON

    def teardown(self) -> None:
        if hasattr(self, "folder"):
            shutil.rmtree(self.folder)


TestLadder = LadderMachine.TestCase
TestLadder.settings = settings(
    max_examples=25, stateful_step_count=15, deadline=None, suppress_health_check=list(HealthCheck)
)


def test_a_promotion_that_a_person_undid_before_it_was_noticed_is_not_done_again() -> None:
    """The crash between both documents of a promotion, with a person who promotes another and comes back."""
    folder = tempfile.mkdtemp()
    try:
        registry = Fragile(folder)
        champion, candidate, other = (registry.register(a_manifest(), some_files(name)) for name in (b"a", b"b", b"c"))
        registry.promote(champion, PERSON)
        ladder = Ladder(registry)
        entered = ladder.enter(candidate, champion, [], LADDER)
        canary = ladder.to_canary(entered, 0.1, [])
        registry.crash_after = registry.writes + 1
        with suppress(Crash):
            ladder.to_promotion(canary, ["earned"])
        assert (registry.current(), registry.trials().candidacy.stage) == (champion, Stage.PROMOTING)  # type: ignore[union-attr]
        again = ModelRegistry(folder)
        again.promote(other, PERSON)
        again.rollback(PERSON)
        found = Ladder(again).finish(again.trials().candidacy)  # type: ignore[arg-type]
        assert (found.stage, again.current()) == (Stage.OUTDATED, champion)
    finally:
        shutil.rmtree(folder)


def test_a_withdrawal_while_it_is_being_promoted_keeps_it_out_of_service() -> None:
    folder = tempfile.mkdtemp()
    try:
        registry = Fragile(folder)
        champion, candidate = (registry.register(a_manifest(), some_files(name)) for name in (b"a", b"b"))
        registry.promote(champion, PERSON)
        ladder = Ladder(registry)
        canary = ladder.to_canary(ladder.enter(candidate, champion, [], LADDER), 0.1, [])
        # The second lock from here is the switch itself.
        person = Ladder(ModelRegistry(folder))

        def withdraw() -> None:
            person.withdraw(["not that one"], PERSON)

        registry.meanwhile = (registry.locks + 2, withdraw)
        with suppress(PromotionConflict):
            ladder.to_promotion(canary, ["earned"])
        assert registry.current() == champion
        assert [each.stage for each in registry.ended_candidacies(candidate)] == [Stage.WITHDRAWN]
    finally:
        shutil.rmtree(folder)
