"""The scorer's own metrics; those that dashboards share stand in shared/telemetry/metrics.py."""

from __future__ import annotations

from prometheus_client import Counter, Gauge

from shared.contracts.events import Verdict
from shared.contracts.rejections import RejectionReason
from shared.deciding import Degraded
from shared.experiments import CHAMPION
from shared.model_artifact.manifest import ArtifactFault
from shared.telemetry.metrics import DEAD_LETTERS, DECISION_SECONDS, DECISIONS, begin_at_nought

SERVICE = "scorer"

UNREADABLE = "unreadable"
"""Beside the faults of models: the registry."""
MODEL_REFUSED = Counter("flit_scorer_model_refused_total", "Promoted models that were not put in service", ["reason"])
MODEL_FAILURES = Counter("flit_scorer_model_failures_total", "Times that the model in service failed to answer")
POLICY_INFO = Gauge("flit_scorer_policy_info", "The policy in service: 1", ["policy"])
POLICY_REFUSED = Counter("flit_scorer_policy_refused_total", "Looks at a policy file that could not be put in service")
POLICIES_UNKEPT = Gauge("flit_scorer_policies_unkept", "Policies that the registry couldn't take yet")
CLAIMS = Counter("flit_scorer_claims_total", "Claims by what came of them", ["channel", "result"])
"""won; lost: decided before, and published; repaired: claimed before, not published, now produced; conflict: claimed
for another purchase under the same event id."""
HALTED = Gauge("flit_scorer_halted", "1 while a topic is not read since too much of it would be refused", ["topic"])
RESTORED = Counter("flit_scorer_claims_restored_total", "Claims written again from risk-decisions")
ANSWERS = Counter("flit_scorer_answers_total", "REST answers", ["status", "reason"])
CHECKOUTS = Counter("flit_scorer_checkouts_total", "Purchases asked over REST, by the answer's status", ["status"])
"""Apart from `ANSWERS`: what an operator or a stranger is answered says nothing of checkouts."""
IN_FLIGHT = Gauge("flit_scorer_requests_in_flight", "REST requests being answered")
LIMITER_HOLDS = Gauge("flit_scorer_limiter_holds", "1 while the policy's limiter has a person look instead", ["what"])
REDIS_MEMORY = Gauge("flit_scorer_redis_memory_ratio", "Of what Redis may hold, what it holds; 0 without a limit")
ADMISSION_LIMIT = Gauge("flit_scorer_admission_limit_requests", "Checkouts let in at once, as found by their latency")

CHANNELS = ("stream", "rest")
begin_at_nought(DEAD_LETTERS, [SERVICE], RejectionReason)
begin_at_nought(DECISIONS, Verdict, [CHAMPION], ["", *Degraded], CHANNELS)
begin_at_nought(DECISION_SECONDS, CHANNELS)
begin_at_nought(CHECKOUTS, ["200", "500", "503"])
begin_at_nought(MODEL_REFUSED, [*ArtifactFault, UNREADABLE])
