"""From a probability to a verdict: rules and thresholds in a versioned file, applied by one pure function.

The scorer applies it to live purchases; whoever wants to know what another policy would have done applies it to logged
ones. Money is Decimal and whole minor units throughout.
"""

from shared.policy.circumstances import ORDINARY, Circumstances, circumstances_of
from shared.policy.decide import PolicyDecision, apply
from shared.policy.file import DEFAULT_POLICY, Policy, PolicyFileError, load_policy
from shared.policy.reasons import FEATURE_REASONS, feature_reason

__all__ = [
    "DEFAULT_POLICY",
    "FEATURE_REASONS",
    "ORDINARY",
    "Circumstances",
    "Policy",
    "PolicyDecision",
    "PolicyFileError",
    "apply",
    "circumstances_of",
    "feature_reason",
    "load_policy",
]
