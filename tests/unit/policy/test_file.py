from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from shared.contracts.pseudonyms import Kind, Pseudonyms
from shared.policy import DEFAULT_POLICY, Policy, PolicyFileError, load_policy

NO_SEGMENT = '{name: new, when: "tenure_days < 30", approve_up_to: "1", decline_above: "0"}'
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
        ('approve_up_to: "0.0285"', 'approve_up_to: "0.05"', "policy"),
        ("code: policy_amount_cap", "code: amount_cap", "rules.0.code"),
        ("code: policy_amount_cap", "code: policy_purchase_velocity", "policy"),
        ("verdict: review", "verdict: approve", "rules.0.verdict"),
        ("verdict: review", "verdict: decline", "policy"),
        ("when: amount_usd > 1000", "wehn: amount_usd > 1000", "rules.0.when"),
        ("everything: decide", "everything: panic", "everything"),
        (
            "segments: []",
            'segments: [{name: new, when: "tenure_days < 30", approve_up_to: "1", decline_above: "0"}]',
            "policy",
        ),
        ("blocked_devices: []", "blocked_devices: 7", "lists.blocked_devices"),
        ('approve_up_to_usd: "100"', 'approve_up_to_usd: "-1"', "fallback.default.approve_up_to_usd"),
        ('    approve_up_to_usd: "100"', '    approve_up_to_usd: "100"\n  outage: {}', "fallback.outage"),
        ('  KWD: "0.3"', "", "units_per_usd"),
        ('  KWD: "0.3"', '  KWD: "0"', "units_per_usd"),
        ('  KWD: "0.3"', '  KWD: "0.3"\n  XXX: "1"', "units_per_usd"),
        ('version: "3"', "version: 3", "version"),
        ('version: "3"', 'version: "3"\nextra: 1', "extra"),
    ],
)
def test_a_bad_value_is_refused_by_the_name_of_file_and_field(edited: Edited, old: str, new: str, field: str) -> None:
    path = edited(old, new)
    with pytest.raises(PolicyFileError) as refused:
        load_policy(path)
    place, _, said = str(refused.value).removeprefix(f"{path}:").partition(": ")
    assert re.fullmatch(r"\d+:\d+", place)
    assert said.startswith(f"{field}: ")
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
    assert before.startswith("3-")


def test_an_optional_part_that_a_later_release_knows_renames_no_policy_of_before() -> None:
    class Later(Policy):
        season: str | None = None

    kept = load_policy()
    assert Later.model_validate(kept.model_dump(mode="json", exclude_unset=True)).name == kept.name


@pytest.mark.parametrize(
    ("when", "column", "said"),
    [
        ("amont_usd > 1000", 0, "there is no fact amont_usd (did you mean amount_usd?)"),
        ("amount_usd > '1000'", 13, "a number is compared with a text"),
        ("amount_usd > 10 and customer_state == 'VI'", 20, "prohibited bases"),
        ("amount_usd", 0, "a condition is true or false, this is a number"),
        ("amount_usd >", 12, "not a condition"),
    ],
)
def test_an_unsound_condition_is_refused_with_its_line_and_column(
    edited: Edited, when: str, column: int, said: str
) -> None:
    path = edited("when: amount_usd > 1000", f"when: {when}")
    line, start = next(
        (number, text.index("when: ") + len("when: ") + 1)
        for number, text in enumerate(path.read_text().splitlines(), 1)
        if text.strip().startswith("when: am")
    )
    with pytest.raises(PolicyFileError) as refused:
        load_policy(path)
    assert str(refused.value).startswith(f"{path}:{line}:{start + column}: rules.0.when: ")
    assert said in str(refused.value)


def test_the_place_of_a_quoted_condition_is_counted_from_inside_the_quotes(edited: Edited) -> None:
    path = edited("when: amount_usd > 1000", 'when: "nobody > 1000"')
    with pytest.raises(PolicyFileError, match=r":12: rules\.0\.when: there is no fact nobody"):
        load_policy(path)


@pytest.mark.parametrize(("text", "line", "column"), [
    ("amount_usd > 1000 and\n      nobody > 1", 2, 6),
    ("nobody > 1000", 1, 6),
    ("amount_usd > 1000\n      and (nobody > 1)", 2, 11),
])  # fmt: skip
def test_the_place_in_a_condition_of_several_lines_is_that_of_the_word(
    edited: Edited, text: str, line: int, column: int
) -> None:
    path = edited("when: amount_usd > 1000", f"when: >-\n      {text}")
    sign = next(number for number, read in enumerate(path.read_text().splitlines(), 1) if read.endswith("when: >-"))
    with pytest.raises(PolicyFileError) as refused:
        load_policy(path)
    assert str(refused.value).startswith(f"{path}:{sign + line}:{column + 1}: rules.0.when: there is no fact nobody")


@pytest.mark.parametrize("value", ["2026-02-30", "0x_", "&x [*x]", "!!binary x"])
def test_what_yaml_can_not_make_a_value_of_is_refused_like_anything_else(edited: Edited, value: str) -> None:
    path = edited('limit_usd: "2000"', f"limit_usd: {value}")
    with pytest.raises(PolicyFileError, match="policy"):
        load_policy(path)


@pytest.mark.parametrize(
    ("when", "expected"),
    [
        ('product_category == "travel"', "one of beauty, clothing"),
        ('"Mobile" == device_type', "one of desktop, mobile"),
        ('currency != "usd"', "one of "),
        ('degraded == "no-model"', "no_model"),
        ('product_category in ["electronics", "travel"]', "'travel'"),
        ("device_os in blocked_devices", "'dev-1'"),
    ],
)
def test_a_text_that_a_fact_can_never_be_is_refused_of_a_new_policy_alone(
    edited: Edited, when: str, expected: str
) -> None:
    path = edited("when: amount_usd > 1000", f"when: '{when}'")
    path.write_text(path.read_text().replace("blocked_devices: []", "blocked_devices: [dev-1]"))
    with pytest.raises(PolicyFileError, match=r"rules\.0\.when: it is never") as refused:
        load_policy(path)
    assert expected in str(refused.value)
    assert load_policy(path, kept=True).rules[0].when == when, "it decided as it did"


def test_what_a_fact_may_be_is_taken(edited: Edited) -> None:
    when = 'product_category == "unknown" or currency == "EUR" or degraded in ["rebuilding"] or source == "anything"'
    assert load_policy(edited("when: amount_usd > 1000", f"when: '{when}'")).rules[0].when == when


@pytest.mark.parametrize("code", ["policy_exposure_limit", "policy_exploration", "policy_decline_rate"])
def test_a_rule_bears_none_of_our_own_codes(edited: Edited, code: str) -> None:
    path = edited("code: policy_amount_cap", f"code: {code}")
    with pytest.raises(PolicyFileError, match=r"rules\.0\.code: a code of our own"):
        load_policy(path)
    assert load_policy(path, kept=True).rules[0].code == code


def test_where_customers_have_pseudonyms_lists_have_to_name_those(edited: Edited) -> None:
    plain = edited("blocked_customers: []", "blocked_customers: [anna]")
    assert load_policy(plain).lists["blocked_customers"] == ["anna"]
    with pytest.raises(PolicyFileError, match=r"services\.scorer pseudonym"):
        load_policy(plain, pseudonyms=True)
    name = Pseudonyms(b"k" * 32).of(Kind.CUSTOMER, "anna")
    assert load_policy(edited("blocked_customers: []", f"blocked_customers: [{name}]"), pseudonyms=True)
