from __future__ import annotations

import math
from collections import Counter
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.experiments import CHAMPION, Arm, Experiment, Trials, arm_of, bucket

NOW = "2026-06-01T12:00:00.000000Z"
CUSTOMERS = [f"cust_{number:06d}" for number in range(20_000)]


def experiment(**changes: Any) -> Experiment:
    values: dict[str, Any] = {
        "name": "trial", "salt": "a", "arms": [Arm("canary", 0.05, "v1"), Arm("bold", 0.2, "v2")],
        "started_at": NOW, "by": "test",
    }  # fmt: skip
    return Experiment(**(values | changes))


@given(st.text(), st.text())
def test_a_place_lies_in_the_unit_interval_and_stays(salt: str, customer: str) -> None:
    salt, customer = (text.encode("utf-8", "replace").decode() for text in (salt, customer))
    place = bucket(salt, customer)
    assert 0.0 <= place < 1.0
    assert bucket(salt, customer) == place


def test_a_customers_place_is_the_same_for_ever() -> None:
    assert arm_of(experiment(), "cust_000001") == CHAMPION
    assert bucket("a", "cust_000001") == pytest.approx(0.7306247492637965, abs=1e-15)


def test_arms_get_their_share_of_the_customers() -> None:
    counts = Counter(arm_of(experiment(), customer) for customer in CUSTOMERS)
    for arm, share in (("canary", 0.05), ("bold", 0.2), (CHAMPION, 0.75)):
        spread = math.sqrt(len(CUSTOMERS) * share * (1 - share))
        assert abs(counts[arm] - len(CUSTOMERS) * share) < 4 * spread


def test_another_salt_deals_everybody_anew() -> None:
    arms = [arm_of(experiment(salt=salt), customer) for salt in ("a", "b") for customer in CUSTOMERS]
    first, second = arms[: len(CUSTOMERS)], arms[len(CUSTOMERS) :]
    both = sum(one == other == "bold" for one, other in zip(first, second, strict=True))
    assert abs(both - len(CUSTOMERS) * 0.04) < 4 * math.sqrt(len(CUSTOMERS) * 0.04)


def test_a_larger_share_keeps_those_who_were_in_the_arm() -> None:
    small, large = (experiment(arms=[Arm("canary", share, "v1")]) for share in (0.05, 0.2))
    for customer in CUSTOMERS[:5000]:
        assert arm_of(small, customer) == CHAMPION or arm_of(large, customer) == "canary"


def test_without_an_experiment_everybody_is_the_champions() -> None:
    assert arm_of(None, "anybody") == CHAMPION


@pytest.mark.parametrize(
    "changes",
    [
        {"arms": []},
        {"arms": [Arm("a", 0.6, "v"), Arm("b", 0.6, "v")]},
        {"arms": [Arm("a", 0.1, "v"), Arm("a", 0.1, "v")]},
        {"arms": [Arm("a", 0.0, "v")]},
        {"arms": [Arm("a", math.nan, "v")]},
        {"arms": [Arm(CHAMPION, 0.1, "v")]},
        {"arms": [Arm("Big Arm", 0.1, "v")]},
        {"name": ""},
        {"salt": ""},
    ],
)
def test_an_experiment_that_cannot_be_run_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"name|arm|salt|shares"):
        experiment(**changes)
    with pytest.raises(msgspec.ValidationError):
        valid = msgspec.to_builtins(Trials(experiment=experiment()))
        valid["experiment"] |= msgspec.to_builtins(changes)
        msgspec.json.decode(msgspec.json.encode(valid), type=Trials)
