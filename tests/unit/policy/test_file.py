from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from shared.policy import DEFAULT_POLICY, PolicyFileError, load_policy

Edited = Callable[[str, str], Path]


@pytest.fixture
def edited(tmp_path: Path) -> Edited:
    def edit(old: str, new: str) -> Path:
        text = DEFAULT_POLICY.read_text()
        assert old in text
        path = tmp_path / "policy.yaml"
        path.write_text(text.replace(old, new, 1))
        return path

    return edit


@pytest.mark.parametrize(
    ("old", "new", "field"),
    [
        ('loss_given_default: "0.60"', "loss_given_default: 0.60", "loss_given_default"),
        ('loss_given_default: "0.60"', 'loss_given_default: "much"', "loss_given_default"),
        ('loss_given_default: "0.60"', 'loss_given_default: "1.5"', "loss_given_default"),
        ('loss_given_default: "0.60"', 'loss_given_default: "NaN"', "loss_given_default"),
        ('approve_up_to: "0.0285"', 'approve_up_to: "0.05"', "thresholds"),
        ("review_purchases_24h_from: 8", 'review_purchases_24h_from: "8"', "rules.review_purchases_24h_from"),
        ("review_purchases_24h_from: 8", "review_purchases_24h_from: 0", "rules.review_purchases_24h_from"),
        ("review_purchases_24h_from: 8", "reviw_purchases_24h_from: 8", "rules.review_purchases_24h_from"),
        ('approve_up_to_usd: "100"', 'approve_up_to_usd: "-1"', "fallback.approve_up_to_usd"),
        ('  KWD: "0.3"', "", "units_per_usd"),
        ('  KWD: "0.3"', '  KWD: "0"', "units_per_usd"),
        ('  KWD: "0.3"', '  KWD: "0.3"\n  XXX: "1"', "units_per_usd"),
        ('version: "1"', "version: 1", "version"),
        ('version: "1"', 'version: "1"\nextra: 1', "extra"),
    ],
)
def test_a_bad_value_is_refused_by_the_name_of_file_and_field(edited: Edited, old: str, new: str, field: str) -> None:
    path = edited(old, new)
    with pytest.raises(PolicyFileError) as refused:
        load_policy(path)
    assert str(refused.value).startswith(f"{path}: {field}: ")
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("text", ["a: [", "- 1", "", "version: 1\nversion: 2"])
def test_what_is_no_policy_at_all_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "policy.yaml"
    path.write_text(text)
    with pytest.raises(PolicyFileError, match=str(path)):
        load_policy(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(PolicyFileError, match=r"nowhere\.yaml"):
        load_policy(tmp_path / "nowhere.yaml")


def test_another_value_is_another_policy_and_another_comment_is_not(edited: Edited) -> None:
    before = load_policy().name
    assert load_policy(edited('approve_up_to: "0.0285"', 'approve_up_to: "0.0284"')).name != before
    assert load_policy(edited("# The policy in service.", "# This is it.")).name == before
    assert before.startswith("1-")
