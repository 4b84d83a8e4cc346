"""The model in service and the policy, ready to be asked by both doors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial

import structlog

from services.scorer.metrics import MODEL_FAILURES
from services.scorer.policies import PolicySlot
from services.scorer.slot import ModelSlot
from shared.contracts.events import Decision, FeatureVector
from shared.contracts.identity import canonical_time
from shared.deciding import Channel, Degraded, ModelFailed, pipeline
from shared.policy import ORDINARY, Circumstances, Policy

log = structlog.get_logger()

Clock = Callable[[], datetime]


def utc_now() -> datetime:
    return datetime.now(UTC)


class Decider:
    """Decides with the models and the policy of the moment; a model that fails costs its score, not the answer."""

    def __init__(self, slot: ModelSlot, policies: PolicySlot, clock: Clock = utc_now) -> None:
        self._slot = slot
        self._policies = policies
        self._clock = clock

    @property
    def policy(self) -> Policy:
        """The one in service."""
        return self._policies.current

    def decide(
        self,
        vectors: Sequence[FeatureVector],
        channel: Channel,
        *,
        degraded: str | None = None,
        circumstances: Circumstances = ORDINARY,
    ) -> list[Decision]:
        """One decision for each vector. `degraded`: why the fallback has to decide, where that is known beforehand.
        `circumstances`: of all of them."""
        decided_at = canonical_time(self._clock())
        lineup, policy = self._slot.lineup, self._policies.current
        decide = partial(
            pipeline.decide,
            vectors,
            policy=policy,
            channel=channel,
            decided_at=decided_at,
            circumstances=circumstances,
        )
        # What is tried on some customers must cost nobody a score: where a model fails, the champion alone is asked
        # next.
        for trying in (lineup, replace(lineup, arms={})) if lineup.arms else (lineup,):
            try:
                return decide(lineup=trying, degraded=degraded)
            except ModelFailed as error:
                MODEL_FAILURES.inc()
                asked = [*trying.champions.values(), *trying.arms.values()]
                log.error("model_failed", versions=[model.version for model in asked], error=str(error))
        return decide(lineup=lineup, degraded=Degraded.MODEL_FAILED)
