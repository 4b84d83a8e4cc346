"""One look after the other, over a real registry in a folder, with what was decided made up."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec
import numpy as np
import pytest

from services.trainer.evaluate import Economics
from services.trainer.experiments.exposures import Exposures
from services.trainer.promotion.judgement import Judge
from services.trainer.promotion.ladder import LADDER, Ladder, LadderRefused
from services.trainer.promotion.looking import Look, Looking
from services.trainer.promotion.requirements import Requirements
from shared.experiments import Arm, Candidacy, Ended, Experiment, Stage, Trials, arm_of
from shared.model_artifact.registry import ModelRegistry
from tests.unit.model_artifact.artifacts import a_manifest, some_files
from tests.unit.trainer.experiments.traffic import LIMITS
from tests.unit.trainer.promotion.seen import CANDIDATE_VERSION, CHAMPION_VERSION, decided

ASKED = Requirements(0.05, 500, 7.0, 0.3, 50, 50, 7.0, 500, 7.0, settle_seconds=-1.0)
PERSON = "operator"


@dataclass
class Rig:
    registry: ModelRegistry
    champion: str
    candidate: str
    other: str

    @property
    def ladder(self) -> Ladder:
        return Ladder(self.registry)

    @property
    def candidacy(self) -> Candidacy:
        found = self.ladder.candidacy
        assert found is not None
        return found

    def look(self, rows: int = 1500, *, further: bool = True, **behaviour: float) -> Look:
        return Looking(
            self.registry,
            self.ladder,
            Judge(ASKED, LIMITS, Economics()),
            lambda _since, _until: self.seen(rows, **behaviour),
            lambda: time.time_ns() // 1000 + 1_000_000,
        ).look(further=further)

    def seen(self, rows: int, **behaviour: float) -> Exposures:
        """As decided at this stage: by the one in service, and in the canary by the candidate."""
        made = {"deciding": CANDIDATE_VERSION, "beside": CHAMPION_VERSION}
        theirs = decided(rows, **behaviour)  # type: ignore[arg-type]
        mine = decided(rows, **made, **behaviour)  # type: ignore[arg-type]
        if self.candidacy.stage is Stage.PROBATION:
            return self.named(mine)
        experiment = self.registry.trials().experiment
        if self.candidacy.stage is not Stage.CANARY or experiment is None:
            return self.named(theirs)
        arm = np.array([arm_of(experiment, customer) for customer in theirs.customer_id], dtype=object)
        names = ("decision", "declined", "own", "lent", "model_version", "probability", "shadow")
        mixed = {name: np.where(arm == "canary", getattr(mine, name), getattr(theirs, name)) for name in names}
        return self.named(replace(theirs, arm=arm, **mixed))

    def named(self, seen: Exposures) -> Exposures:
        def column(values: np.ndarray) -> np.ndarray:
            both = ((CHAMPION_VERSION, self.champion), (CANDIDATE_VERSION, self.candidate))
            texts = [str(each) for each in values]
            for old, new in both:
                texts = [each.replace(old, new) for each in texts]
            return np.array(texts, dtype=object)

        return replace(seen, model_version=column(seen.model_version), shadow=column(seen.shadow))


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    registry = ModelRegistry(str(tmp_path / "models"))
    made = Rig(registry, *(registry.register(a_manifest(), some_files(name)) for name in (b"a", b"b", b"c")))
    registry.promote(made.champion, PERSON)
    made.ladder.enter(made.candidate, made.champion, ["all gates passed"], LADDER)
    return made


def climb(rig: Rig, stage: Stage) -> None:
    while rig.candidacy.stage is not stage:
        assert rig.look().stepped


def test_it_climbs_one_step_a_look_and_stays_in_service(rig: Rig) -> None:
    steps = [rig.look().answer()["step"] for _ in range(4)]
    assert steps == ["shadow → canary", "canary → probation", "probation → confirmed", None]
    assert (rig.registry.current(), rig.registry.previous()) == (rig.candidate, rig.champion)
    trials = rig.registry.trials()
    assert (trials.shadow, trials.experiment) == ([], None)
    stages = [step.stage for step in rig.candidacy.steps]
    assert stages == [Stage.SHADOW, Stage.CANARY, Stage.PROMOTING, Stage.PROBATION, Stage.CONFIRMED]


def test_looks_without_news_say_the_same_and_change_nothing_but_the_evidence(rig: Rig) -> None:
    first, second = rig.look(100), rig.look(100)
    assert first == second
    assert not first.stepped
    assert first.missing[0] == "decisions beside the champion's: 100 of 500"
    assert rig.candidacy.evidence == first.evidence
    assert rig.candidacy.stage is Stage.SHADOW


def test_while_somebody_elses_experiment_runs_the_canary_waits(rig: Rig) -> None:
    spring = Experiment("spring", "salt", [Arm("arm", 0.1, rig.other)], "2026-06-01T00:00:00.000000Z", PERSON)
    rig.registry.change_trials(lambda before: msgspec.structs.replace(before, experiment=spring))
    found = rig.look()
    assert not found.stepped
    assert "the experiment spring runs" in found.missing[0]
    rig.registry.change_trials(lambda before: msgspec.structs.replace(before, experiment=None))
    assert rig.look().after is Stage.CANARY


def stop_canary(rig: Rig) -> None:
    rig.registry.change_trials(
        lambda before: msgspec.structs.replace(before, experiment=None), by="guard", why="decline-rate of canary"
    )


def promote_other(rig: Rig) -> None:
    rig.registry.promote(rig.other, PERSON)


def promote_candidate(rig: Rig) -> None:
    rig.registry.promote(rig.candidate, PERSON)


def roll_back(rig: Rig) -> None:
    rig.registry.rollback(PERSON)


def empty_shadow(rig: Rig) -> None:
    rig.registry.change_trials(lambda before: msgspec.structs.replace(before, shadow=[]))


@pytest.mark.parametrize(
    ("stage", "act", "ends", "why"),
    [
        (Stage.SHADOW, empty_shadow, Stage.WITHDRAWN, "out of the shadow by hand"),
        (Stage.SHADOW, promote_other, Stage.OUTDATED, "is in service instead of"),
        (Stage.SHADOW, promote_candidate, Stage.OUTDATED, "past the ladder"),
        (Stage.CANARY, stop_canary, Stage.WITHDRAWN, "stopped by guard: decline-rate of canary"),
        (Stage.CANARY, promote_other, Stage.OUTDATED, "is in service instead of"),
        (Stage.PROBATION, empty_shadow, Stage.OUTDATED, "is not in shadow: there is nothing to compare it with"),
        (Stage.PROBATION, roll_back, Stage.ROLLED_BACK, "put back in service by operator"),
        (Stage.PROBATION, promote_other, Stage.OUTDATED, "put in service by operator"),
    ],
)
def test_what_a_person_or_the_guard_has_done_stands_and_ends_the_candidacy(
    rig: Rig, stage: Stage, act: Callable[[Rig], None], ends: Stage, why: str
) -> None:
    climb(rig, stage)
    act(rig)
    serving = rig.registry.current()
    found = rig.look()
    assert found.after is ends
    assert why in found.reasons[0]
    assert rig.registry.current() == serving
    assert rig.registry.trials() == Trials(candidacy=rig.candidacy)


@pytest.mark.parametrize("stage", [Stage.SHADOW, Stage.CANARY])
def test_one_that_was_tampered_with_on_its_way_is_withdrawn(rig: Rig, stage: Stage) -> None:
    climb(rig, stage)
    (rig.registry.root / "models" / rig.candidate / "model.onnx").write_bytes(b"another")
    found = rig.look()
    assert found.after is Stage.WITHDRAWN
    assert found.reasons[0].startswith("integrity: hash")
    assert rig.registry.trials().shadow == []
    assert rig.registry.current() == rig.champion


def test_on_probation_the_one_to_return_to_has_to_be_whole(rig: Rig) -> None:
    climb(rig, Stage.PROBATION)
    (rig.registry.root / "models" / rig.champion / "model.onnx").write_bytes(b"another")
    found = rig.look(candidate_shift=1.5)
    assert found.after is Stage.OUTDATED
    assert found.reasons[0].startswith("integrity: hash")
    assert rig.registry.current() == rig.candidate


def test_on_probation_one_that_was_damaged_gives_way_to_the_one_before(rig: Rig) -> None:
    climb(rig, Stage.PROBATION)
    (rig.registry.root / "models" / rig.candidate / "manifest.json").write_text("{")
    found = rig.look(further=False)
    assert (found.after, found.switched) == (Stage.ROLLED_BACK, True)
    assert found.reasons[0].startswith("integrity")
    assert rig.registry.current() == rig.champion


def test_a_rollback_to_one_that_is_damaged_ends_and_says_so(rig: Rig) -> None:
    climb(rig, Stage.PROBATION)
    judged = rig.candidacy.moved(Stage.ROLLING_BACK, rig.candidacy.since, LADDER, ["profit"])
    rig.registry.change_trials(lambda before: msgspec.structs.replace(before, candidacy=judged))
    (rig.registry.root / "models" / rig.champion / "model.onnx").write_bytes(b"another")
    found = rig.look()
    assert found.after is Stage.OUTDATED
    assert found.reasons[0].startswith("not rolled back")


@pytest.mark.parametrize("stage", [Stage.SHADOW, Stage.CANARY, Stage.PROBATION])
def test_a_look_that_lets_nobody_further_takes_out_whoever_decides_and_is_worse(rig: Rig, stage: Stage) -> None:
    climb(rig, stage)
    assert not rig.look(further=False).stepped
    found = rig.look(further=False, candidate_shift=1.5)
    assert found.stepped == (stage is not Stage.SHADOW)


def test_one_that_harms_in_service_is_rolled_back_and_stays_out_until_a_person_wants_it(rig: Rig) -> None:
    climb(rig, Stage.PROBATION)
    found = rig.look(candidate_shift=1.5)
    assert found.answer()["step"] == "probation → rolled back"
    assert rig.registry.current() == rig.champion
    before = rig.registry.pointer("previous")
    assert before is not None
    assert (before.version, before.withdrawn) == (rig.candidate, True), "no scorer falls back to it"
    with pytest.raises(LadderRefused, match="stays so: decline-rate"):
        rig.ladder.enter(rig.candidate, rig.champion, [], LADDER)
    rig.ladder.enter(rig.candidate, rig.champion, [], PERSON, again=True)
    assert rig.registry.trials().shadow == [rig.candidate]
    assert [each.stage for each in rig.registry.ended_candidacies(rig.candidate)] == [Stage.ROLLED_BACK]


def test_a_candidate_is_withdrawn_by_one_command_and_one_in_service_is_not(rig: Rig) -> None:
    climb(rig, Stage.CANARY)
    rig.ladder.withdraw(["second thoughts"], PERSON)
    assert rig.registry.trials() == Trials(candidacy=rig.candidacy)
    [ended] = rig.registry.ended_experiments(f"ladder-{rig.candidate}")
    assert isinstance(ended, Ended)
    assert (ended.by, ended.why) == (PERSON, "second thoughts")
    with pytest.raises(LadderRefused, match="nobody is on the ladder"):
        rig.ladder.withdraw(["again"], PERSON)
    rig.ladder.enter(rig.other, rig.champion, [], LADDER)
    rig.candidate = rig.other
    climb(rig, Stage.PROBATION)
    with pytest.raises(LadderRefused, match="`rollback`"):
        rig.ladder.withdraw(["too late"], PERSON)


def test_one_that_a_person_has_put_in_service_is_not_withdrawn_from_there(rig: Rig) -> None:
    promote_candidate(rig)
    with pytest.raises(LadderRefused, match="`rollback`"):
        rig.ladder.withdraw(["too late"], PERSON)
    assert rig.look().after is Stage.OUTDATED


def test_a_newer_candidate_takes_the_place_of_one_in_shadow_and_waits_for_one_that_is_further(rig: Rig) -> None:
    rig.ladder.enter(rig.other, rig.champion, [], LADDER)
    assert rig.registry.trials().shadow == [rig.other]
    [past] = rig.registry.ended_candidacies(rig.candidate)
    assert (past.stage, past.steps[-1].reasons) == (Stage.OUTDATED, [f"{rig.other} took its place"])
    rig.ladder.enter(rig.candidate, rig.champion, [], LADDER)  # outdated is no failure
    climb(rig, Stage.CANARY)
    with pytest.raises(LadderRefused, match="one at a time"):
        rig.ladder.enter(rig.other, rig.champion, [], LADDER)
    with pytest.raises(LadderRefused, match="is in service now"):
        rig.ladder.enter(rig.other, rig.candidate, [], LADDER)


@pytest.fixture
def after(rig: Rig) -> Rig:
    """The candidate on probation, the other in shadow beside it: looks from here on are at the other."""
    climb(rig, Stage.PROBATION)
    rig.ladder.enter(rig.other, rig.candidate, ["all gates passed"], LADDER)
    return replace(rig, champion=rig.candidate, candidate=rig.other, other=rig.champion)


def test_a_successor_answers_beside_a_probation_and_goes_to_its_canary_once_that_is_over(rig: Rig, after: Rig) -> None:
    assert rig.registry.trials().shadow == [rig.champion, rig.other]
    assert [each.version for each in rig.ladder.climbing] == [rig.candidate, rig.other]
    assert rig.look().answer()["step"] == "probation → confirmed"
    assert rig.registry.trials().shadow == [rig.other], "what the successor does there is not the probation's affair"
    found = after.look()
    assert (found.version, found.answer()["step"]) == (after.candidate, "shadow → canary")
    assert [each.version for each in rig.ladder.climbing] == [after.candidate]
    [confirmed] = rig.registry.ended_candidacies(after.champion)
    assert confirmed.stage is Stage.CONFIRMED
    climb(after, Stage.CONFIRMED)
    assert rig.registry.current() == after.candidate


def test_a_successor_of_one_that_is_rolled_back_leaves_and_may_come_again(rig: Rig, after: Rig) -> None:
    assert rig.look(candidate_shift=1.5).after is Stage.ROLLED_BACK
    found = after.look()
    assert (found.version, found.after) == (rig.other, Stage.OUTDATED)
    assert rig.registry.trials().shadow == []
    rig.ladder.enter(rig.other, rig.champion, [], LADDER)
    assert [each.version for each in rig.ladder.climbing] == [rig.other]


def test_a_look_that_lets_nobody_further_leaves_a_successor_in_shadow(rig: Rig, after: Rig) -> None:
    rig.look()
    assert after.look(further=False).after is Stage.SHADOW
    assert rig.candidacy.version == rig.other


def test_beside_a_probation_there_is_one_and_the_newest(rig: Rig, after: Rig) -> None:
    newest = rig.registry.register(a_manifest(), some_files(b"d"))
    rig.ladder.enter(newest, rig.candidate, [], LADDER)
    assert rig.registry.trials().shadow == [rig.champion, newest]
    assert [each.stage for each in rig.registry.ended_candidacies(rig.other)] == [Stage.OUTDATED]
    rig.look()
    rig.ladder.enter(rig.other, rig.candidate, [], LADDER)  # comes between the end of the probation and the next look
    assert [each.version for each in rig.ladder.climbing] == [rig.other]
    assert rig.registry.trials().shadow == [rig.other]


def test_the_model_to_return_to_is_no_successor(rig: Rig) -> None:
    climb(rig, Stage.PROBATION)
    with pytest.raises(LadderRefused, match="the model to return to"):
        rig.ladder.enter(rig.champion, rig.candidate, [], LADDER)


def test_of_two_a_person_names_the_one_to_be_withdrawn(rig: Rig, after: Rig) -> None:
    with pytest.raises(LadderRefused, match="which one"):
        rig.ladder.withdraw(["second thoughts"], PERSON)
    with pytest.raises(LadderRefused, match="`rollback`"):
        rig.ladder.withdraw(["second thoughts"], PERSON, rig.candidate)
    with pytest.raises(LadderRefused, match="on the ladder: "):
        rig.ladder.withdraw(["second thoughts"], PERSON, rig.champion)
    gone = rig.ladder.withdraw(["second thoughts"], PERSON, rig.other)
    assert (gone.version, gone.stage) == (rig.other, Stage.WITHDRAWN)
    assert rig.registry.trials().shadow == [rig.champion]
    with pytest.raises(LadderRefused, match="stays so: second thoughts"):
        rig.ladder.enter(rig.other, rig.candidate, [], LADDER)
    assert rig.look().after is Stage.CONFIRMED
    assert rig.look().reasons == ("nobody is on the ladder",)


def test_a_successor_that_a_person_takes_out_of_the_shadow_is_withdrawn(rig: Rig, after: Rig) -> None:
    rig.registry.change_trials(lambda before: msgspec.structs.replace(before, shadow=[rig.champion]))
    rig.look()
    assert after.look().after is Stage.WITHDRAWN
