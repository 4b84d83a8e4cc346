from __future__ import annotations

import math
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import msgspec
import numpy as np
import pytest

from services.scorer.explanation import Explanations
from services.scorer.library import KEPT, ModelLibrary, PolicyLibrary
from services.scorer.policies import PolicySlot
from services.scorer.slot import ModelSlot
from shared.contracts.events import Decision, Verdict, encode
from shared.deciding import Lineup, decide
from shared.deciding.onnx_model import OnnxModel
from shared.model_artifact.manifest import Calibration
from shared.model_artifact.registry import ModelRegistry
from shared.policy import DEFAULT_POLICY, load_policy
from tests.unit.scorer.parts import NAMES, NOW, a_vector, register
from tests.unit.scorer.rest import URL, Asked, assert_problem, client_of


class Decided:
    """The decisions there are."""

    def __init__(self, *decisions: Decision) -> None:
        self._decisions = {decision.event_id: encode(decision) for decision in decisions}

    async def find(self, event_id: str, asked_by: str | None, *, on_its_way: bool = False) -> bytes | None:
        return self._decisions.get(event_id)


@pytest.fixture
def model(registry: ModelRegistry) -> OnnxModel:
    return OnnxModel(registry.load(register(registry, calibration=Calibration(slope=0.8, intercept=-0.3))))


def decided_by(model: OnnxModel | None, number: int = 1, degraded: str | None = None, **changes: Any) -> Decision:
    lineup = Lineup({} if model is None else {model.feature_set_version: model})
    vector = a_vector(number, **changes)
    (decision,) = decide([vector], lineup, load_policy(), channel="rest", decided_at=NOW, degraded=degraded)
    return decision


def explaining(registry: ModelRegistry, *decisions: Decision, slot: ModelSlot | None = None) -> Explanations:
    models = ModelLibrary(registry, slot or ModelSlot())
    return Explanations(Decided(*decisions), models, PolicyLibrary(registry, PolicySlot(load_policy())))


@pytest.fixture
async def asking(registry: ModelRegistry, model: OnnxModel) -> AsyncIterator[Any]:
    async def ask(*decisions: Decision, slot: ModelSlot | None = None) -> httpx.Response:
        explanations = explaining(registry, *decisions, slot=slot)
        async with client_of(Asked(), explanations=explanations) as client:
            return await client.get(f"{URL}/{decisions[0].event_id}/explanation")

    yield ask


async def test_the_sigmoid_of_base_and_contributions_is_the_raw_probability(asking: Any, model: OnnxModel) -> None:
    for number in range(1, 20):
        decision = decided_by(model, number, amount=10.0 * number)
        told = (await asking(decision)).json()
        log_odds = told["base_value"] + math.fsum(part["contribution"] for part in told["contributions"])
        assert 1 / (1 + math.exp(-log_odds)) == pytest.approx(told["raw_probability"], abs=1e-6)
        calibrated = Calibration(told["calibration"]["slope"], told["calibration"]["intercept"])
        probability = calibrated.apply(np.asarray([told["raw_probability"]]))[0]
        assert probability == pytest.approx(decision.probability_of_default, abs=1e-12)
        assert told["probability_of_default"] == decision.probability_of_default


async def test_every_feature_of_the_model_is_told_with_its_value_largest_first(asking: Any, model: OnnxModel) -> None:
    decision = decided_by(model)
    parts = (await asking(decision)).json()["contributions"]
    assert {part["feature"]: part["value"] for part in parts} == {name: decision.features[name] for name in NAMES}
    assert [part["contribution"] for part in parts] == sorted((part["contribution"] for part in parts), reverse=True)
    assert all(part["unit"] and part["why"] for part in parts)
    raising = [part["feature"] for part in parts if part["contribution"] > 0]
    told = [reason.code for reason in decision.reasons if not reason.code.startswith("policy_")]
    assert told == raising[: len(told)]


async def test_a_declined_purchase_comes_with_its_notice(asking: Any, model: OnnxModel) -> None:
    decision = decided_by(model, customer={"tenure_days": 0, "credit_score_range": "poor"})
    assert decision.decision is Verdict.DECLINE
    notice = (await asking(decision)).json()["adverse_action"]
    assert [reason["code"] for reason in notice["principal_reasons"]] == [reason.code for reason in decision.reasons]
    assert notice["rights"]


async def test_the_notice_of_what_the_score_declined_names_no_rule_that_only_has_a_person_look(
    asking: Any, model: OnnxModel
) -> None:
    decision = decided_by(model, customer={"tenure_days": 0, "credit_score_range": "poor"}, amount=1_200)
    told = [reason.code for reason in decision.reasons]
    assert decision.decision is Verdict.DECLINE
    assert told[0] == "policy_amount_cap", "in the decision it stands, as the default policy has it"
    notice = (await asking(decision)).json()["adverse_action"]
    assert [reason["code"] for reason in notice["principal_reasons"]] == told[1:]


async def test_the_policy_of_then_tells_which_rules_decline(
    registry: ModelRegistry, tmp_path: Path, model: OnnxModel
) -> None:
    file = tmp_path / "policy.yaml"
    file.write_text(
        DEFAULT_POLICY.read_text()
        .replace('version: "3"', 'version: "then"')
        .replace("policy_blocked", "policy_refused")
    )
    then = load_policy(file)
    registry.keep_policy(then.name, file.read_bytes())
    library = PolicyLibrary(registry, PolicySlot(load_policy()))
    assert "policy_refused" in then.declining
    assert await library.of(then.name) == then
    assert await library.of(load_policy().name) == load_policy()
    assert await library.of("1-0123456789ab") is None


async def test_an_approved_one_has_none(asking: Any, model: OnnxModel) -> None:
    decision = decided_by(model, customer={"tenure_days": 3000, "credit_score_range": "excellent"})
    assert decision.decision is Verdict.APPROVE
    assert (await asking(decision)).json()["adverse_action"] is None


async def test_what_no_model_decided_has_no_contributions_and_says_why(asking: Any) -> None:
    told = (await asking(decided_by(None))).json()
    assert (told["degraded"], told["model_version"]) == ("no_model", "none")
    assert told["base_value"] is told["raw_probability"] is told["calibration"] is None
    assert told["contributions"] == []


async def test_a_model_that_is_gone_is_said_to_be(asking: Any, model: OnnxModel) -> None:
    decision = msgspec.structs.replace(decided_by(model), model_version="0" * 16)
    assert_problem(await asking(decision), 503, "model-unavailable")


async def test_the_model_in_service_is_not_loaded_again(registry: ModelRegistry, model: OnnxModel) -> None:
    slot = ModelSlot()
    slot.put(model)
    assert await ModelLibrary(registry, slot).get(model.version) is model


async def test_earlier_models_are_kept_for_a_while(registry: ModelRegistry) -> None:
    library = ModelLibrary(registry, ModelSlot())
    versions = [register(registry, intercept=-2.0 - number) for number in range(KEPT + 1)]
    first = await library.get(versions[0])
    assert await library.get(versions[0]) is first
    for version in versions[1:]:
        await library.get(version)
    assert await library.get(versions[0]) is not first


async def test_an_event_without_a_decision_is_not_found(registry: ModelRegistry) -> None:
    explanations = explaining(registry)
    async with client_of(Asked(), explanations=explanations) as client:
        assert_problem(await client.get(f"{URL}/none/explanation"), 404, "not-found")
