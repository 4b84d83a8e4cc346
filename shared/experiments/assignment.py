"""Which arm of an experiment a customer is in: fixed for as long as the experiment runs, and known to nobody before.

A customer's place is a hash of the experiment's salt and the customer's id, so it needs no store, is the same at every
door and after every restart, and in the next experiment (another salt) is dealt anew.
"""

from __future__ import annotations

import hashlib
import re

import msgspec

from shared.experiments.candidacy import Candidacy, canary_name

CHAMPION = "champion"
"""The arm of all who are in no other."""

_PLACE_BYTES = 7
"""56 bits: as many as a float can tell apart without rounding."""

_NAME = re.compile(r"[a-z][a-z0-9_-]{0,63}")


class Arm(msgspec.Struct, frozen=True):
    name: str
    share: float
    """Of the customers, above 0."""
    model_version: str


class Experiment(msgspec.Struct, frozen=True):
    """Arms beside the champion's. Raises ValueError for one that can't be run as it stands."""

    name: str
    salt: str
    arms: list[Arm]
    started_at: str
    by: str

    def __post_init__(self) -> None:
        names = [arm.name for arm in self.arms]
        for name in (self.name, *names):
            if not _NAME.fullmatch(name):
                raise ValueError(f"a name has lower-case letters, digits, _ and -, got {name!r}")
        if not names or len(set(names)) != len(names) or CHAMPION in names:
            raise ValueError(f"one or more arms, each once, and none called {CHAMPION}")
        if not self.salt:
            raise ValueError("a salt is needed: without one, places are the same in each experiment")
        if any(not 0 < arm.share < 1 for arm in self.arms) or sum(arm.share for arm in self.arms) > 1:
            raise ValueError("shares above 0, together at most 1")


class Ended(msgspec.Struct, frozen=True):
    """An experiment that no longer runs."""

    experiment: Experiment
    ended_at: str
    by: str
    why: str


class Trials(msgspec.Struct, frozen=True):
    """Everything that is tried at the moment."""

    shadow: list[str] = []
    """Versions that answer beside the decision and never decide."""
    experiment: Experiment | None = None
    candidacy: Candidacy | None = None
    """Of the version that climbs from the shadow into service by itself, or that did last."""
    successor: Candidacy | None = None
    """Of a version that answers in shadow while `candidacy` is on probation, or that did last. It goes no further
    before it has taken that place."""

    @property
    def climbing(self) -> list[Candidacy]:
        """Whoever is on the ladder, the one that is further first."""
        return [each for each in (self.candidacy, self.successor) if each is not None and not each.ended]

    def with_moved(self, judged: Candidacy, moved: Candidacy) -> Trials | None:
        """With one of them further, or ended; None where it isn't there as it was judged."""
        if self.candidacy == judged:
            return msgspec.structs.replace(self, candidacy=moved)
        if self.successor == judged:
            return msgspec.structs.replace(self, successor=moved)
        return None

    def canary_of(self, candidacy: Candidacy) -> Experiment | None:
        """The experiment in which that candidate decides, where it is the one that runs: not another under its name."""
        running = self.experiment
        if running is None or (running.name, running.started_at) != (canary_name(candidacy.version), candidacy.canary):
            return None
        return running


def bucket(salt: str, customer_id: str) -> float:
    """The customer's place, uniform in [0, 1)."""
    digest = hashlib.sha256(f"{salt}\x1f{customer_id}".encode()).digest()
    return float(int.from_bytes(digest[:_PLACE_BYTES]) / (1 << (8 * _PLACE_BYTES)))


def arm_of(experiment: Experiment | None, customer_id: str) -> str:
    """The name of the customer's arm."""
    if experiment is None:
        return CHAMPION
    place, reached = bucket(experiment.salt, customer_id), 0.0
    for arm in experiment.arms:
        reached += arm.share
        if place < reached:
            return arm.name
    return CHAMPION
