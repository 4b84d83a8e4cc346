from __future__ import annotations

import numpy as np

from services.trainer.export import check_explanation, check_parity
from services.trainer.families.ensemble import Ensemble
from services.trainer.families.linear import Logistic
from services.trainer.families.neural_network import NeuralNetwork
from services.trainer.families.xgboost_trees import XGBoostTrees
from shared.model_artifact.explanation import Explainer, MeanExplanation, decode_explanation, encode_explanation
from shared.model_artifact.manifest import logit
from tests.unit.trainer.families.fitted import fit, fitted, parts
from tests.unit.trainer.synthetic import ALL, CONDITIONS


def test_an_ensemble_is_the_mean_of_its_members_log_odds() -> None:
    members = [Logistic(ALL, CONDITIONS), XGBoostTrees(ALL, CONDITIONS)]
    ensemble, holdout = fit(Ensemble(ALL, CONDITIONS, members)), parts()[1].features
    expected = np.mean([logit(member.raw_probability(holdout)) for member in members], axis=0)
    np.testing.assert_allclose(logit(ensemble.raw_probability(holdout)), expected, atol=1e-9)


def test_its_contributions_are_the_mean_of_theirs_also_after_they_were_written_and_read() -> None:
    holdout = parts()[1].features[:200]
    explanation = fitted("ensemble").explanation()
    assert isinstance(explanation, MeanExplanation)
    each = [Explainer(member, holdout.shape[1]).contributions(holdout) for member in explanation.members]
    read = Explainer(decode_explanation(encode_explanation(explanation)), holdout.shape[1])
    np.testing.assert_allclose(read.contributions(holdout), np.mean(each, axis=0), atol=1e-12)


def test_one_member_that_explains_nothing_makes_the_whole_a_challenger_only() -> None:
    ensemble = fit(Ensemble(ALL, CONDITIONS, [Logistic(ALL, CONDITIONS), NeuralNetwork(ALL, CONDITIONS)]))
    graph, holdout = ensemble.export_onnx(), parts()[1].features
    assert not ensemble.explains
    assert check_parity(ensemble, graph, holdout) < 1e-6
    assert check_explanation(ensemble, graph, holdout) == (None, None)
