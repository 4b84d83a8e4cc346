"""Stored decisions made again, with the models and the policy of then: are they the same bytes?

What went into a decision is in its record: features, versions, arm, shadow models, why a fallback decided, and, by
their reasons, the circumstances that a policy takes into account. The purchase is in the warehouse beside it, models
and policies in the registry under their names. The one function that decides, `shared.deciding.decide`, is given these,
and nothing of what is in service today.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from services.trainer.archive import Archive, NotKept
from services.trainer.stored import StoredDecision
from shared.contracts.events import Decision, FeatureVector, Transaction, encode
from shared.contracts.records import decode_decision
from shared.contracts.rejections import Rejection
from shared.deciding import Degraded, Lineup, Model, ModelFailed, Scores, decide
from shared.policy import circumstances_of

CHUNK = 1_000
"""Decisions made again at a time: bounds the memory, and moves the progress bar."""

SHOWN = 20
"""Decisions listed by name; the counts are always of all."""

EXIT_STATUS = {"identical": 0, "different": 1, "not replayable": 3}

ABSENT = "(absent)"


@dataclass(frozen=True, slots=True)
class Replayed:
    """What came of one stored decision."""

    stored: StoredDecision
    made: bytes = b""
    """The decision as made now; empty where it couldn't be."""
    differences: Mapping[str, Any] = field(default_factory=dict)
    """Field → what is stored, and what was made now."""
    hindrance: str = ""
    """Why it couldn't be made again."""

    @property
    def result(self) -> str:
        if self.hindrance:
            return "not replayable"
        return "different" if self.differences else "identical"


class _Silent:
    """Stands in for a model that gave no answer."""

    version = "silent"
    feature_names: Sequence[str] = ()

    def __init__(self, feature_set_version: str) -> None:
        self.feature_set_version = feature_set_version

    def score(self, matrix: NDArray[np.float32]) -> Scores:
        return Scores(np.full(len(matrix), np.nan), np.zeros((len(matrix), 0)))


class NotReplayable(Exception):
    """A decision can't be made again; the text says for want of what."""


Case = tuple[StoredDecision, Decision, FeatureVector]


def replay(stored: Iterable[StoredDecision], archive: Archive) -> Iterator[list[Replayed]]:
    """Each stored decision's outcome, some at a time, in the order of the stored ones."""
    waiting = iter(stored)
    while chunk := list(islice(waiting, CHUNK)):
        yield _replayed(chunk, archive)


def _replayed(chunk: Sequence[StoredDecision], archive: Archive) -> list[Replayed]:
    found: dict[int, Replayed] = {}
    alike: dict[tuple[Any, ...], list[tuple[int, Case]]] = defaultdict(list)
    for i, each in enumerate(chunk):
        try:
            case = _case(each)
        except NotReplayable as why:
            found[i] = Replayed(each, hindrance=str(why))
        else:
            alike[_made_alike(case[1])].append((i, case))
    for numbered in alike.values():
        cases = [case for _, case in numbered]
        found |= zip((i for i, _ in numbered), _again(cases, archive), strict=True)
    return [found[i] for i in range(len(chunk))]


def _case(stored: StoredDecision) -> Case:
    if stored.record is None:
        raise NotReplayable("erased" if stored.erased else "its row doesn't hold the record")
    try:
        decision = decode_decision(stored.record)
    except Rejection as rejection:
        raise NotReplayable(f"this release can't read the record: {rejection}") from None
    if stored.purchase is None:
        raise NotReplayable("its purchase isn't in the warehouse")
    return stored, decision, _vector(decision, stored.purchase)


def _vector(decision: Decision, purchase: Transaction) -> FeatureVector:
    return FeatureVector(
        event_id=decision.event_id,
        customer_id=decision.customer_id,
        occurred_at=decision.occurred_at,
        feature_set_version=decision.feature_set_version,
        features=decision.features,
        feature_hash=decision.feature_hash,
        as_of=decision.as_of,
        transaction=purchase,
        computed_at=decision.decided_at,  # no decision depends on it
    )


def _made_alike(decision: Decision) -> tuple[Any, ...]:
    """Decisions for which this is the same can be made again in one go."""
    shadow = tuple(score.model_version for score in decision.shadow)
    versions = (decision.model_version, decision.policy_version, decision.feature_set_version, shadow)
    return (*versions, decision.degraded, circumstances_of(decision.reasons), decision.channel, decision.decided_at)


def _again(cases: Sequence[Case], archive: Archive) -> list[Replayed]:
    """`cases`: made alike."""
    try:
        made = _decided([decision for _, decision, _ in cases], [vector for _, _, vector in cases], archive)
    except NotKept as why:
        return [Replayed(stored, hindrance=str(why)) for stored, _, _ in cases]
    except (ModelFailed, KeyError, ValueError) as error:
        if len(cases) > 1:  # whose fault it is shows when each is asked alone
            return [outcome for case in cases for outcome in _again([case], archive)]
        return [Replayed(cases[0][0], hindrance=f"this release can't decide it: {error!r}")]
    return [_compared(stored, encode(decision)) for (stored, _, _), decision in zip(cases, made, strict=True)]


def _decided(decisions: Sequence[Decision], vectors: Sequence[FeatureVector], archive: Archive) -> list[Decision]:
    like = decisions[0]
    feature_set, degraded = like.feature_set_version, like.degraded
    policy = archive.policy(like.policy_version)
    shadow = [archive.model(score.model_version) for score in like.shadow]
    champion: Model | None = None
    if degraded is None:
        champion = archive.model(like.model_version)
    elif degraded == Degraded.MODEL_FAILED:
        # It failed while it was asked, and those in shadow may have answered: so it is asked and fails again.
        champion, degraded = _Silent(feature_set), None
    return decide(
        vectors,
        Lineup({} if champion is None else {feature_set: champion}, challengers=shadow),
        policy,
        channel=like.channel,
        decided_at=like.decided_at,
        degraded=degraded,
        circumstances=circumstances_of(like.reasons),
        arms=[decision.variant for decision in decisions],
    )


def _compared(stored: StoredDecision, made: bytes) -> Replayed:
    record = stored.record or b""
    differences: dict[str, Any] = {}
    if (now := hashlib.sha256(record).hexdigest()) != stored.record_sha256:
        differences["record_sha256"] = {"stored": stored.record_sha256, "of the stored record": now}
    if made != record:
        differences |= _fields(json.loads(record), json.loads(made)) or {"bytes": "the same fields, written otherwise"}
    return Replayed(stored, made, differences)


def _fields(stored: Mapping[str, Any], made: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: {"stored": stored.get(name, ABSENT), "now": made.get(name, ABSENT)}
        for name in dict.fromkeys([*stored, *made])
        if stored.get(name, ABSENT) != made.get(name, ABSENT)
    }


def told(outcome: Replayed) -> dict[str, Any]:
    """One decision's outcome as the command answers with it."""
    stored = outcome.stored
    return {
        "event_id": stored.event_id,
        "result": outcome.result,
        "partition": stored.partition,
        "offset": stored.offset,
        "record_sha256": stored.record_sha256,
        "event_age_ms": stored.event_age_ms,
        "latency_ms": stored.latency_ms,
        "decision": json.loads(outcome.made) if outcome.made else None,
        "differences": dict(outcome.differences),
        "hindrance": outcome.hindrance or None,
        "exit_status": EXIT_STATUS[outcome.result],
    }


def summary(chunks: Iterable[Sequence[Replayed]], step: Callable[[str], None]) -> dict[str, Any]:
    """Many decisions' outcomes as the command answers with them. Nothing at all is not identical."""
    counts, hindrances = Counter[str](), Counter[str]()
    different: list[dict[str, Any]] = []
    hindered: list[str] = []
    for chunk in chunks:
        for outcome in chunk:
            counts[outcome.result] += 1
            if outcome.hindrance:
                hindrances[outcome.hindrance] += 1
                hindered.append(outcome.stored.event_id)
            elif outcome.differences:
                place = {name: getattr(outcome.stored, name) for name in ("event_id", "partition", "offset")}
                different.append(place | {"differences": dict(outcome.differences)})
        del different[SHOWN:], hindered[SHOWN:]
        step(f"{counts.total()} made again")
    worst = next((result for result in ("different", "not replayable") if counts[result]), "identical")
    if not counts:
        worst = "not replayable"
    return {
        "replayed": counts.total(),
        "identical": counts["identical"],
        "different": counts["different"],
        "not_replayable": dict(hindrances.most_common(SHOWN)),
        "examples": {"different": different, "not_replayable": hindered},
        "exit_status": EXIT_STATUS[worst],
    }
