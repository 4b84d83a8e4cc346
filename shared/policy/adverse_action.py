"""What has to be told to a customer whose purchase was declined.

In the United States Regulation B (12 CFR 1002.9) asks for the specific principal reasons, of which its commentary finds
more than four unhelpful, and for what really was decisive: the sample reasons (appendix C, form C-1) don't excuse a
vaguer word. So each of our codes has the sample reason that it belongs to, where one fits, and beside it our own
sentence with the customer's own value. In the European Union directive 2023/2225 (article 18) adds the right to an
explanation of an automated decision and to a person's review.

Not legal advice: the mapping is a proposal that a lender's own counsel has to confirm.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from enum import StrEnum

import msgspec

from shared.contracts.events import Decision, DecisionUpdate, Reason, Verdict
from shared.policy.reasons import FEATURE_REASONS, PolicyReason

MOST_REASONS = 4

POLICY_PREFIX = "policy_"
"""Of every code of the policy; that of a feature is its name."""


class SampleReason(StrEnum):
    """The sample reasons of Regulation B, form C-1, that fit one of ours."""

    INCOME = "Income insufficient for amount of credit requested"
    OBLIGATIONS = "Excessive obligations in relation to income"
    RESIDENCE = "Length of residence"
    IDENTITY = "Unable to verify identity"
    CREDIT_EXPERIENCE = "Limited credit experience"
    PERFORMANCE_WITH_US = "Poor credit performance with us"
    PERFORMANCE_WITH_OTHERS = "Delinquent past or present credit obligations with others"
    COLLATERAL = "Value or type of collateral not sufficient"
    INCOME_UNVERIFIED = "Unable to verify income"
    RESIDENCE_UNVERIFIED = "Unable to verify residence"
    REFERENCES_UNVERIFIED = "Unable to verify credit references"
    OTHER = "Other, as stated"


_BY_CODE: dict[str, SampleReason] = {
    "income_rank": SampleReason.INCOME,
    "amount_to_credit_limit": SampleReason.OBLIGATIONS,
    "credit_utilization": SampleReason.OBLIGATIONS,
    "credit_is_stretched": SampleReason.OBLIGATIONS,
    "policy_exposure_limit": SampleReason.OBLIGATIONS,
    "credit_limit": SampleReason.CREDIT_EXPERIENCE,
    "tenure_days": SampleReason.CREDIT_EXPERIENCE,
    "on_time_known": SampleReason.CREDIT_EXPERIENCE,
    "credit_score_rank": SampleReason.PERFORMANCE_WITH_OTHERS,
    "defaults_known": SampleReason.PERFORMANCE_WITH_US,
    "default_share_known": SampleReason.PERFORMANCE_WITH_US,
    "verification_rank": SampleReason.IDENTITY,
    "address_stability_rank": SampleReason.RESIDENCE,
    "product_risk_rank": SampleReason.COLLATERAL,
}

_BY_CODE_UNKNOWN: dict[str, SampleReason] = {
    "income_rank": SampleReason.INCOME_UNVERIFIED,
    "credit_score_rank": SampleReason.REFERENCES_UNVERIFIED,
    "verification_rank": SampleReason.IDENTITY,
    "address_stability_rank": SampleReason.RESIDENCE_UNVERIFIED,
    "on_time_known": SampleReason.CREDIT_EXPERIENCE,
    "default_share_known": SampleReason.CREDIT_EXPERIENCE,
}
"""Where the feature's value isn't known: that somebody's income is too small would then be said of nobody's income."""

_CIRCUMSTANCES = frozenset(
    reason.reason.code
    for reason in (
        PolicyReason.FALLBACK_AMOUNT,
        PolicyReason.EVERYTHING,
        PolicyReason.DECLINE_RATE,
        PolicyReason.APPROVED_VOLUME,
        PolicyReason.EXPLORATION,
    )
)
"""Codes that say why a person looks at a purchase, or why chance did, and nothing of it."""

RIGHTS_EU = (
    "You may ask for a clear explanation of how this decision was reached, and of what weighed in it.",
    "You may state your view, and have the decision reviewed by a person.",
    "You may ask for what is held about you, and have what is wrong corrected.",
)


class PrincipalReason(msgspec.Struct, frozen=True):
    code: str
    text: str
    """Our own sentence, with the customer's own value."""
    sample_reason: str
    """Of Regulation B, form C-1."""


class AdverseActionNotice(msgspec.Struct, frozen=True):
    """What a notice has to hold; the letter around it is the lender's."""

    event_id: str
    customer_id: str
    transaction_id: str
    decided_at: str
    automated: bool
    """No person took part in the decision."""
    principal_reasons: list[PrincipalReason]
    rights: list[str]
    model_version: str
    policy_version: str


def sample_reason(code: str, *, unknown: bool = False) -> SampleReason:
    """The sample reason that a code belongs to; `OTHER` where none fits. `unknown`: the feature has no value."""
    return (_BY_CODE_UNKNOWN if unknown else _BY_CODE).get(code, SampleReason.OTHER)


def adverse_action(decision: Decision, declining: Collection[str] | None) -> AdverseActionNotice | None:
    """The notice of a declined purchase; None where nothing adverse was decided (a review is not, until it ends).

    `declining`: the codes by which the decision's own policy declines (`Policy.declining`); None: not known any more.
    """
    if decision.decision is not Verdict.DECLINE:
        return None
    return _notice(decision, _decisive(decision.reasons, declining), decided_at=decision.decided_at, automated=True)


def after_verdict(
    decision: Decision, update: DecisionUpdate, declining: Collection[str] | None, only_looks: Collection[str] = ()
) -> AdverseActionNotice | None:
    """The notice of a purchase that a person declined; None for any other update. `declining` as in `adverse_action`;
    `only_looks`: codes of the policy's rules that only have a person look (`Policy.only_looks`).

    Its reasons are those that the person was shown, less what only says why it was a person's turn. What else was
    decisive for him is for his letter to add; there may be nothing but that.
    """
    if update.verdict is not Verdict.DECLINE:
        return None
    shown = _decisive(decision.reasons, declining) if decision.decision is Verdict.DECLINE else decision.reasons
    about_the_purchase = [reason for reason in shown if reason.code not in (*_CIRCUMSTANCES, *only_looks)]
    return _notice(decision, about_the_purchase, decided_at=update.updated_at, automated=False)


def code_list() -> dict[str, tuple[SampleReason, SampleReason | None]]:
    """Every code that a decision may carry, apart from those of a policy file's own rules: its sample reason, and that
    of a feature without a value."""
    of_features = {code: (sample_reason(code), sample_reason(code, unknown=True)) for code in FEATURE_REASONS}
    return of_features | {reason.reason.code: (sample_reason(reason.reason.code), None) for reason in PolicyReason}


def _notice(decision: Decision, reasons: Sequence[Reason], *, decided_at: str, automated: bool) -> AdverseActionNotice:
    unknown = {name for name, value in decision.features.items() if value is None}
    return AdverseActionNotice(
        event_id=decision.event_id,
        customer_id=decision.customer_id,
        transaction_id=decision.transaction_id,
        decided_at=decided_at,
        automated=automated,
        principal_reasons=[
            PrincipalReason(reason.code, reason.text, sample_reason(reason.code, unknown=reason.code in unknown).value)
            for reason in reasons[:MOST_REASONS]
        ],
        rights=list(RIGHTS_EU),
        model_version=decision.model_version,
        policy_version=decision.policy_version,
    )


def _decisive(reasons: Sequence[Reason], declining: Collection[str] | None) -> list[Reason]:
    """Those that were decisive, as principal reasons have to be (12 CFR 1002.9(b)(2)).

    Where a rule of the policy has declined, it and no feature: whatever raised the risk a little stands in the decision
    as well, also where the score alone would have approved. Where the score has declined, its features and no rule that
    only asks for a person's look; where those have crowded the features out of a decision's four, that is all that can
    be said. All of them where the policy of then isn't known any more.
    """
    if declining is None:
        return list(reasons)
    by_rule = [reason for reason in reasons if reason.code in declining]
    by_score = [reason for reason in reasons if not reason.code.startswith(POLICY_PREFIX)]
    return by_rule or by_score or [PolicyReason.ESTIMATED_RISK.reason]
