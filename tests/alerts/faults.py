"""Each alert's fault: what has to go wrong for it to fire."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from tests.alerts import models, parts
from tests.alerts.floor import Floor


@dataclass(frozen=True)
class Fault:
    """`alerts`: those that it is there for; others may fire as well."""

    name: str
    inject: Callable[[Floor], Awaitable[None]]
    """Puts it in and takes it away again. Raises AssertionError where an alert that it waits for doesn't fire."""
    alerts: tuple[str, ...]
    quick: bool = False
    """Seconds, and without audits, guard and monitor."""
    begun: bool = False
    """By a fault before: an alert that fires already counts."""


FAULTS: tuple[Fault, ...] = (
    Fault("a row is deleted", parts.row_is_deleted, ("LedgerUnbalanced",)),
    Fault("a customer's state is lost unseen", parts.state_is_lost_unseen, ("FeaturesMismatch",)),
    Fault("a service hangs", parts.service_hangs, ("ServiceDown",), quick=True),
    Fault("the source is away", parts.source_is_away, ("SourceAway",), quick=True),
    Fault("a policy is no policy", models.policy_is_no_policy, ("PolicyRefused",), quick=True),
    Fault("a promoted model is damaged", models.promoted_model_is_damaged, ("ModelRefused",), quick=True),
    Fault("the limiter is tight", models.limiter_is_tight, ("LimiterHolds",)),
    Fault("the brokers are slow", parts.brokers_are_slow, ("CheckoutSlow", "DecisionsLate", "FeaturesStale")),
    Fault("the brokers are away", parts.brokers_are_away, ("CheckoutFails", "NothingIngested")),
    Fault("Redis hangs while purchases come", parts.redis_hangs_while_purchases_come, ("ConsumerLag", "StreamStalled")),
    Fault("Redis is nearly full", parts.redis_is_nearly_full, ("RedisFull",), quick=True),
    Fault("the warehouse refuses appends", parts.warehouse_refuses_appends, ("SinkWaits", "SinkWritesNothing")),
    Fault("the warehouse stands still in turns", parts.warehouse_stands_again_and_again, ("RowsLate",)),
    Fault("the registry is empty", models.registry_is_empty, ("NoModel", "DecisionsDegraded")),
    Fault("the model is old", models.model_is_old, ("ModelOld",)),
    Fault("the guard sees nothing", models.guard_sees_nothing, ("ExperimentUnwatched",)),
    Fault("the monitor sees nothing", models.monitor_sees_nothing, ("ModelsUnwatched",)),
    Fault("a field is no longer sent", models.field_is_no_longer_sent, ("ModelConcern",)),
    Fault("purchases change", models.purchases_change, ("FeatureDrift",)),
    Fault("a service dies again and again", parts.service_dies_again_and_again, ("ServiceRestarts",)),
    Fault("a producer sends what is refused", parts.producer_sends_what_is_refused, ("RecordsRefused", "TopicHalted")),
    Fault("the source sends what is refused", parts.source_sends_what_is_refused, ("SourceStopped",)),
    Fault("records are gone", parts.records_are_gone, ("RebuildGaps", "StatesRebuilding")),
    Fault("the audits end", parts.audits_end, ("LedgerSilent",), begun=True),
)  # fmt: skip
"""In this order: audits while there is little to audit; the end of the audits a day later, as the rules count here."""

BY_NAME = {fault.name: fault for fault in FAULTS}
QUICK = tuple(fault for fault in FAULTS if fault.quick)
