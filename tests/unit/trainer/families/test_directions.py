from __future__ import annotations

from services.trainer.families.directions import direction, unjudged


def test_every_feature_of_the_set_has_been_judged_for_its_direction() -> None:
    assert unjudged() == ()
    assert (direction("defaults_known"), direction("purchases_24h"), direction("credit_score_rank")) == (1, 1, -1)
