from __future__ import annotations

from typing import Any

import pytest

from services.trainer.candidates import inputs
from services.trainer.examples import TrainingRefused
from services.trainer.prohibited import BASES, check_inputs, prohibited
from shared.contracts.enumerations import VALUES
from shared.feature_definitions import FEATURE_NAMES
from shared.policy.facts import PROHIBITED
from tests.unit.scorer.parts import a_vector


def test_the_trainer_and_the_policys_rules_are_held_to_one_list() -> None:
    assert {f"customer_{base}" for base in BASES} == PROHIBITED
    assert {"age_bracket", "state"} == BASES


def test_no_declared_feature_stands_on_it() -> None:
    assert prohibited(FEATURE_NAMES) == {}
    assert [each.features for each in inputs()]


@pytest.mark.parametrize(
    "name", ["age_bracket", "age_bracket_rank", "customer_age", "state", "state_is_ca", "is_STATE_ny"]
)
def test_a_feature_named_after_one_is_no_input(name: str) -> None:
    with pytest.raises(TrainingRefused, match="prohibited basis"):
        check_inputs(["amount", name])


@pytest.mark.parametrize("name", ["address_stability_rank", "statement_days", "usage_share", "average_amount"])
def test_a_feature_whose_name_only_contains_the_letters_is_one(name: str) -> None:
    check_inputs([name])


def test_no_feature_changes_with_the_bases_themselves_whatever_it_is_called() -> None:
    def features(**changes: Any) -> dict[str, float | None]:
        customer = {"tenure_days": 384, "credit_score_range": "fair"} | changes
        return dict(a_vector(customer=customer).features)

    plain = features()
    for age in VALUES["customer", "age_bracket"]:
        for state in ("CA", "NY", "VI"):
            assert features(age_bracket=age, state=state) == plain
