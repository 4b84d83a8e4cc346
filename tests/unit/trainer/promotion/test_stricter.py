"""How much stricter a candidate is than the champion, on the same customers."""

from __future__ import annotations

from pathlib import Path

import pytest

from services.trainer.promotion.customers import Asked
from services.trainer.promotion.stricter import compared, told, verdicts
from shared.contracts.events import Verdict
from shared.experiments import Stricter
from shared.model_artifact.registry import ModelRegistry
from shared.policy import load_policy
from tests import factories
from tests.unit.scorer.parts import register

APPROVE, REVIEW, DECLINE = Verdict.APPROVE, Verdict.REVIEW, Verdict.DECLINE


def test_the_shares_are_of_customers_and_a_review_is_no_approval() -> None:
    pairs = [(DECLINE, APPROVE), (REVIEW, APPROVE), (APPROVE, APPROVE), (DECLINE, DECLINE)]
    assert compared(pairs) == Stricter(declined=0.25, not_approved=0.5)


def test_who_is_milder_is_given_nothing() -> None:
    assert compared([(APPROVE, REVIEW), (REVIEW, DECLINE)]) == Stricter()


def test_where_nobody_could_be_asked_there_is_nothing_to_be_stricter_about() -> None:
    assert compared([]) == Stricter()


def test_each_model_is_asked_with_the_features_of_its_own_set(tmp_path: Path) -> None:
    registry = ModelRegistry(str(tmp_path / "models"))
    features = {"older": {"amount": 10.0}, "newer": {"amount": 9_000.0}}
    some = [Asked(factories.accepted(0, amount=100.0).transaction, features)]
    said = {}
    for name in features:
        version = register(registry, names=("amount",), coefficients=(0.002,), intercept=-5.0, feature_set_version=name)
        said[name] = verdicts(some, registry.load(version), load_policy())
    assert said == {"older": [APPROVE], "newer": [DECLINE]}


@pytest.mark.parametrize(("stricter", "words"), [(Stricter(0.42, 0.5), "42.0% more"), (Stricter(), "0.0% more")])
def test_it_is_told_in_words(stricter: Stricter, words: str) -> None:
    assert words in told(stricter)
