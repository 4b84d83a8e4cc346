"""Every feature's part in a decision, made again from the decision's own features and the model of then."""

from __future__ import annotations

from typing import Any

import msgspec

from services.scorer.checkout import Unavailable
from services.scorer.library import ModelLibrary, PolicyLibrary
from services.scorer.ports import Decisions
from shared.contracts.events import Decision, Reason, Verdict
from shared.deciding import NO_MODEL, matrix_of
from shared.feature_definitions import FEATURES
from shared.model_artifact.manifest import ArtifactRefused
from shared.policy.adverse_action import AdverseActionNotice, adverse_action

_FEATURES = {feature.name: feature for feature in FEATURES}
_DECISION = msgspec.json.Decoder(Decision)


class Contribution(msgspec.Struct, frozen=True):
    feature: str
    value: float | None
    contribution: float
    """In log-odds of the raw probability; above 0 it raised the risk."""
    unit: str | None
    why: str | None
    """What a risk analyst wants the feature for; null for one that this release doesn't know any more."""


class CalibrationStated(msgspec.Struct, frozen=True):
    method: str
    formula: str
    slope: float
    intercept: float


class Explanation(msgspec.Struct, frozen=True):
    """`raw_probability` = sigmoid(`base_value` + sum of the contributions)."""

    event_id: str
    decision: Verdict
    model_version: str
    policy_version: str
    feature_set_version: str
    degraded: str | None
    scale: str
    base_value: float | None
    """Null, like all that follows from it, where no model was asked."""
    contributions: list[Contribution]
    """The one that raised the risk most first."""
    raw_probability: float | None
    calibration: CalibrationStated | None
    probability_of_default: float | None
    reasons: list[Reason]
    adverse_action: AdverseActionNotice | None
    """What a notice has to tell the customer, where the purchase was declined."""


class Explanations:
    def __init__(self, decisions: Decisions, library: ModelLibrary, policies: PolicyLibrary) -> None:
        self._decisions = decisions
        self._library = library
        self._policies = policies

    async def explain(self, event_id: str, asked_by: str | None) -> bytes | None:
        """The explanation, None for an event without a decision. Raises Unavailable."""
        found = await self._decisions.find(event_id, asked_by)
        return None if found is None else msgspec.json.encode(await self._explanation(_DECISION.decode(found)))

    async def _explanation(self, decision: Decision) -> Explanation:
        score = {} if decision.model_version == NO_MODEL else await self._score(decision)
        return Explanation(
            event_id=decision.event_id,
            decision=decision.decision,
            model_version=decision.model_version,
            policy_version=decision.policy_version,
            feature_set_version=decision.feature_set_version,
            degraded=decision.degraded,
            scale="log-odds",
            base_value=score.get("base_value"),
            contributions=score.get("contributions", []),
            raw_probability=score.get("raw_probability"),
            calibration=score.get("calibration"),
            probability_of_default=decision.probability_of_default,
            reasons=decision.reasons,
            adverse_action=await self._notice(decision),
        )

    async def _notice(self, decision: Decision) -> AdverseActionNotice | None:
        if decision.decision is not Verdict.DECLINE:
            return None
        try:
            policy = await self._policies.of(decision.policy_version)
            return adverse_action(decision, None if policy is None else policy.declining)
        except OSError as error:
            raise Unavailable("registry-unavailable", f"policy {decision.policy_version}: {error}") from None

    async def _score(self, decision: Decision) -> dict[str, Any]:
        try:
            model = await self._library.get(decision.model_version)
        except (ArtifactRefused, OSError) as error:
            raise Unavailable("model-unavailable", f"model {decision.model_version}: {error}") from None
        explained = model.explain(matrix_of([decision.features], model.feature_names))
        parts = [
            _contribution(name, decision.features[name], float(part))
            for name, part in zip(model.feature_names, explained.contributions[0], strict=True)
        ]
        return {
            "base_value": explained.base,
            "contributions": sorted(parts, key=lambda part: -part.contribution),
            "raw_probability": float(explained.raw[0]),
            "calibration": CalibrationStated(
                "Platt",
                "sigmoid(slope * log-odds(raw_probability) + intercept)",
                model.calibration.slope,
                model.calibration.intercept,
            ),
        }


def _contribution(name: str, value: float | None, part: float) -> Contribution:
    feature = _FEATURES.get(name)
    if feature is None:
        return Contribution(name, value, part, None, None)
    return Contribution(name, value, part, feature.unit, feature.why)
