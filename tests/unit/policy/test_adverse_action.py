from __future__ import annotations

import re
from pathlib import Path

import msgspec
import pytest

from shared.contracts.events import Decision, DecisionUpdate, Reason, UpdateKind, Verdict
from shared.contracts.examples import OTHERS
from shared.policy import FEATURE_REASONS, load_policy
from shared.policy.adverse_action import (
    _BY_CODE,
    _BY_CODE_UNKNOWN,
    SampleReason,
    adverse_action,
    after_verdict,
    code_list,
    sample_reason,
)
from shared.policy.reasons import PolicyReason

(EXAMPLE,) = OTHERS["decision"]
DECLINING = frozenset({"policy_blocked"})
PAGE = Path(__file__).parents[3] / "docs" / "reference" / "reasons.md"


def decided(verdict: Verdict, *codes: str) -> Decision:
    reasons = [Reason(code=code, text=f"It is about {code}.") for code in codes]
    changed: Decision = msgspec.structs.replace(EXAMPLE, decision=verdict, reasons=reasons)
    return changed


@pytest.mark.parametrize("verdict", [Verdict.APPROVE, Verdict.REVIEW])
def test_only_a_decline_is_adverse(verdict: Verdict) -> None:
    assert adverse_action(decided(verdict, "income_rank"), DECLINING) is None


def test_a_notice_says_what_was_decisive_in_the_decisions_own_words_and_order() -> None:
    notice = adverse_action(decided(Verdict.DECLINE, "night_share_30d", "income_rank"), DECLINING)
    assert notice is not None
    assert [(reason.code, reason.sample_reason) for reason in notice.principal_reasons] == [
        ("night_share_30d", "Other, as stated"),
        ("income_rank", "Income insufficient for amount of credit requested"),
    ]
    assert notice.principal_reasons[1].text == "It is about income_rank."
    assert (notice.event_id, notice.policy_version) == (EXAMPLE.event_id, EXAMPLE.policy_version)


def test_what_a_rule_has_declined_is_not_put_down_to_features_that_had_no_part_in_it() -> None:
    told = ["policy_blocked", "policy_amount_cap", "credit_score_rank", "tenure_days"]
    notice = adverse_action(decided(Verdict.DECLINE, *told), DECLINING)
    assert notice is not None
    assert [reason.code for reason in notice.principal_reasons] == ["policy_blocked"]


@pytest.mark.parametrize(
    ("codes", "declining", "told"),
    [
        (["policy_amount_cap", "income_rank"], DECLINING, ["income_rank"]),
        (["policy_everything", "income_rank", "gone_feature"], DECLINING, ["income_rank", "gone_feature"]),
        (["policy_amount_cap", "income_rank"], None, ["policy_amount_cap", "income_rank"]),
        (["policy_amount_cap"], DECLINING, ["policy_estimated_risk"]),
    ],
    ids=["a rule that asks for a look", "everything to people", "policy of then unknown", "nothing else told"],
)
def test_what_the_score_has_declined_is_not_put_down_to_rules_that_had_no_part_in_it(
    codes: list[str], declining: frozenset[str] | None, told: list[str]
) -> None:
    notice = adverse_action(decided(Verdict.DECLINE, *codes), declining)
    assert notice is not None
    assert [reason.code for reason in notice.principal_reasons] == told


def said(verdict: Verdict | None) -> DecisionUpdate:
    kind = UpdateKind.CANCEL if verdict is None else UpdateKind.VERDICT
    return DecisionUpdate(
        update_id="u", event_id=EXAMPLE.event_id, customer_id=EXAMPLE.customer_id, kind=kind, verdict=verdict,
        actor="anna", note=None, updated_at="2026-06-02T08:00:00.000000Z",
    )  # fmt: skip


@pytest.mark.parametrize("verdict", [Verdict.APPROVE, None])
def test_a_review_that_ends_well_for_the_customer_needs_no_notice(verdict: Verdict | None) -> None:
    assert after_verdict(decided(Verdict.REVIEW, "income_rank"), said(verdict), DECLINING) is None


def test_a_review_that_a_person_ends_with_a_decline_has_a_notice_without_what_only_made_it_a_review() -> None:
    reviewed = decided(Verdict.REVIEW, "policy_decline_rate", "policy_exposure_limit", "income_rank")
    notice = after_verdict(reviewed, said(Verdict.DECLINE), DECLINING)
    assert notice is not None
    assert [reason.code for reason in notice.principal_reasons] == ["policy_exposure_limit", "income_rank"]
    assert (notice.automated, notice.decided_at) == (False, "2026-06-02T08:00:00.000000Z")


@pytest.mark.parametrize(
    ("verdict", "codes", "told"),
    [
        (Verdict.DECLINE, ["policy_blocked", "income_rank"], ["policy_blocked"]),
        (Verdict.APPROVE, ["policy_exploration", "income_rank"], ["income_rank"]),
        (Verdict.REVIEW, ["policy_approved_volume"], []),
    ],
    ids=["a decline upheld", "what chance had approved", "nothing of the purchase's own"],
)
def test_a_person_who_declines_gives_only_reasons_that_were_decisive(
    verdict: Verdict, codes: list[str], told: list[str]
) -> None:
    notice = after_verdict(decided(verdict, *codes), said(Verdict.DECLINE), DECLINING)
    assert notice is not None
    assert [reason.code for reason in notice.principal_reasons] == told


def test_a_rule_that_only_has_a_person_look_is_no_reason_of_his() -> None:
    reviewed = decided(Verdict.REVIEW, "policy_amount_cap", "policy_purchase_velocity", "income_rank")
    default = load_policy()
    assert default.only_looks == {"policy_amount_cap"}
    notice = after_verdict(reviewed, said(Verdict.DECLINE), default.declining, default.only_looks)
    assert notice is not None
    assert [reason.code for reason in notice.principal_reasons] == ["policy_purchase_velocity", "income_rank"]


def test_no_more_than_four_reasons_are_told() -> None:
    notice = adverse_action(decided(Verdict.DECLINE, "a", "b", "c", "d", "e"), DECLINING)
    assert notice is not None
    assert [reason.code for reason in notice.principal_reasons] == ["a", "b", "c", "d"]


def test_the_mapping_names_only_codes_that_exist() -> None:
    assert _BY_CODE_UNKNOWN.keys() <= FEATURE_REASONS.keys()
    assert _BY_CODE.keys() <= FEATURE_REASONS.keys() | {reason.reason.code for reason in PolicyReason}
    assert sample_reason("nobody_s_code") is SampleReason.OTHER


def test_the_page_lists_every_code_with_its_sample_reason() -> None:
    listed = re.findall(r"^\| `(\w+)` \| (.+?) \| (.*?) ?\|$", PAGE.read_text(), re.MULTILINE)
    assert listed == [
        (code, known.value, unknown.value if unknown is not None else "")
        for code, (known, unknown) in code_list().items()
    ]


@pytest.mark.parametrize("code", ["income_rank", "credit_score_rank", "default_share_known", "product_risk_rank"])
def test_nothing_bad_is_said_of_what_is_not_known(code: str) -> None:
    """The sample reason has to be true as well, for whoever puts it into a letter."""
    declined = decided(Verdict.DECLINE, code)
    unknown = msgspec.structs.replace(declined, features=declined.features | {code: None})
    known = msgspec.structs.replace(declined, features=declined.features | {code: 1.0})
    told = {}
    for what, decision in (("unknown", unknown), ("known", known)):
        notice = adverse_action(decision, DECLINING)
        assert notice is not None
        told[what] = notice.principal_reasons[0].sample_reason
    assert told["unknown"] != told["known"] == sample_reason(code).value
    assert told["unknown"] == sample_reason(code, unknown=True).value
