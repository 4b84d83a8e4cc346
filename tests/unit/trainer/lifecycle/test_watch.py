"""The loop's order of things, and what is left where it is cut off."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field

import pytest

from services.trainer.lifecycle.harm import Harm
from services.trainer.lifecycle.triggers import Came, Climber, Plan, Seen, State, Trigger
from services.trainer.lifecycle.watch import SWITCHED, Advanced, Hands, Transient, Watch
from shared.feature_definitions.windows import MICROS_PER_DAY

DAY = MICROS_PER_DAY


class CutOff(Exception):
    """The process ends here."""


@dataclass
class World:
    """A stream whose days we tell, and what the loop did to it."""

    day: float | None = 0.0
    found: dict[str, object] = field(default_factory=dict)
    came: Came = Came.CANDIDATE
    climber: Climber | None = None
    switched: bool = False
    failing: str = ""
    error: Exception = field(default_factory=lambda: Transient("away"))
    did: list[str] = field(default_factory=list)
    state: State = field(default_factory=State)

    def watch(self, every_days: float = 1.0) -> Watch:
        hands = Hands(clock=self.clock, look=self.look, advance=self.advance, train=self.train)
        return Watch(hands, self, Plan(every_days=28, changed_days=7), int(every_days * DAY), DAY // 24)

    def read(self) -> State:
        return self.state

    def write(self, state: State) -> None:
        self._do("remember")
        self.state = state

    def clock(self) -> int | None:
        return None if self.day is None else int(self.day * DAY)

    def look(self, clock_us: int) -> Seen:
        self._do("look")
        return Seen(clock_us, **self.found)  # type: ignore[arg-type]

    def advance(self, state: State, further: bool) -> Advanced:
        self._do("advance" if further else "step out")
        return Advanced(self.climber, self.switched)

    def train(self, trigger: Trigger, state: State) -> Came:
        since_us = state.changed_at_us
        self._do(f"train {trigger} since {None if since_us is None else since_us // DAY}")
        return self.came

    def _do(self, what: str) -> None:
        self.did.append(what)
        if self.failing and what.startswith(self.failing):
            raise self.error


def test_a_first_round_looks_promotes_and_trains() -> None:
    world = World()
    tick = world.watch().tick()
    assert world.did == ["look", "advance", "remember", "train first since None", "remember"]
    assert (tick.looked, tick.trigger, tick.candidate) == (True, Trigger.FIRST, True)


def test_between_two_looks_a_candidate_may_only_be_taken_out_and_that_once_an_hour() -> None:
    world = World()
    watch = world.watch()
    watch.tick()
    world.did.clear()
    for world.day in (0.01, 0.05, 0.06, 0.9):
        assert not watch.tick().looked
    assert world.did == ["step out", "step out"]


def test_where_no_look_can_be_taken_a_candidate_is_taken_out_all_the_same() -> None:
    world = World(failing="look")
    watch = world.watch()
    for _ in range(2):
        with pytest.raises(Transient):
            watch.tick()
    assert world.did == ["look", "step out", "look"]


def test_a_look_that_sees_nothing_lets_nobody_further_and_forgets_nothing() -> None:
    known = State(tried_at_us=0, drifted_at_us=8 * DAY, learnt_of_us=9 * DAY)
    world = World(state=known, day=20, found={"blind": "the champion can't be read"})
    world.watch().tick()
    assert "step out" in world.did
    assert "advance" not in world.did
    assert world.state.drifted_at_us == 8 * DAY


def test_an_empty_warehouse_is_waited_for() -> None:
    assert not World(day=None).watch().tick().looked


def test_a_change_is_trained_for_on_what_came_since() -> None:
    world = World(state=State(tried_at_us=0), day=10, found={"drifted_from_us": 8 * DAY})
    world.watch().tick()
    assert "train drift since 8" in world.did


def test_poisoned_data_promotes_and_trains_nobody() -> None:
    world = World(found={"poisoned": ("30% dead letters",), "drifted_from_us": 0})
    tick = world.watch().tick()
    assert world.did == ["look", "remember", "step out"]
    assert "30% dead letters" in tick.why


def test_while_outcomes_are_lacking_nobody_is_promoted_or_trained_and_nothing_is_remembered() -> None:
    world = World(found={"held": ("of 900 loans 40 have no outcome",)})
    tick = world.watch().tick()
    assert world.did == ["look", "step out"]
    assert "40 have no outcome" in tick.why


def test_nobody_is_trained_while_a_candidate_decides_for_customers() -> None:
    world = World(state=State(tried_at_us=0), day=40, climber=Climber("abc", "canary"))
    tick = world.watch().tick()
    assert world.did == ["look", "advance"]
    assert "abc" in tick.why


def test_a_look_that_switched_models_trains_nobody_for_what_it_saw_of_the_one_before() -> None:
    loss: dict[str, object] = {"lost_from_us": 5 * DAY}
    world = World(state=State(tried_at_us=0), day=20, found=loss, climber=Climber("b", "probation", serves=True))
    world.switched = True
    watch = world.watch()
    assert watch.tick().why == SWITCHED
    world.switched, world.found, world.day = False, {}, 21
    assert watch.tick().trigger is None, "the one in service does well, and the schedule's day has not come"
    world.day, world.state = 22, State(tried_at_us=0, hurried=True)
    assert watch.tick().trigger is Trigger.SCHEDULE


def test_while_it_trains_somebody_else_takes_out_whoever_is_worse_and_that_once_an_hour() -> None:
    world = World(day=5.0)
    harm = Harm(world.clock, lambda state: world._do("step out"), world, DAY // 24)
    assert not harm.round(), "the loop itself looks where it doesn't train"
    harm.training.set()
    looked = []
    for world.day in (5.0, 5.01, 5.05, None):
        looked.append(harm.round())
    assert looked == [True, False, True, False]
    assert world.did == ["step out", "step out"]


@pytest.mark.parametrize("place", ["look", "remember", "advance", "train"])
def test_a_round_that_is_cut_off_anywhere_is_made_up_for_by_the_next_process(place: str) -> None:
    world = World(failing=place, error=CutOff())
    with pytest.raises(CutOff):
        world.watch().tick()
    world.failing = ""
    assert world.watch().tick().trigger is Trigger.FIRST
    assert world.state.tried_at_us == 0


def test_a_training_that_is_always_cut_off_is_not_begun_for_ever() -> None:
    world = World(failing="train", error=Transient("no space left for the card"))
    watch = world.watch()
    for _ in range(10):
        try:
            watch.tick()
        except Transient:
            continue
    assert [what for what in world.did if what.startswith("train")] == ["train first since None"] * 3
    assert world.state == State(tried_at_us=0, in_vain=1, unjudged=True)


def test_a_training_in_vain_is_remembered_as_such() -> None:
    world = World(came=Came.IN_VAIN)
    world.watch().tick()
    assert world.state == State(tried_at_us=0, in_vain=1)


def test_what_is_away_is_tried_again_until_told_to_stop() -> None:
    world = World(failing="look")

    class StopAfterTwo(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            if world.did.count("look") == 2:
                world.failing = ""
            return world.did.count("look") == 3

    last = world.watch().run(0.0, StopAfterTwo())
    assert (last.looked, last.trigger) == (True, Trigger.FIRST)
