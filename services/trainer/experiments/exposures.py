"""Who was decided on in an experiment, as the warehouse has it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from services.trainer.currencies import in_usd
from services.trainer.experiments.evidence import Count
from services.trainer.maturity.watching import heard_of, watched_until
from services.trainer.spans import Span, outside
from services.trainer.warehouse import Warehouse
from shared.contracts.events import Verdict
from shared.contracts.identity import epoch_micros
from shared.deciding import Degraded
from shared.experiments import CHAMPION, Experiment
from shared.feature_definitions.windows import MICROS_PER_DAY, MICROS_PER_SECOND
from shared.model_artifact.registry import Pointer
from shared.policy.reasons import PolicyReason
from shared.warehouse import tables
from shared.warehouse.views import (
    FIRST_OF_EVENT,
    FIRST_OF_PURCHASE,
    cancelled,
    latest_outcomes,
    latest_verdicts,
    of_decision,
    plan_days,
)

if TYPE_CHECKING:
    import pyarrow

Values = Sequence[Any] | NDArray[Any]

APPROVE, DECLINE = Verdict.APPROVE.value, Verdict.DECLINE.value

_NO_ANSWER = [Degraded.NO_MODEL.value, Degraded.MODEL_FAILED.value]
"""Why a fallback decided for the model's sake. All else is the vector's: nobody could have been asked."""


def _because(reason: PolicyReason) -> str:
    return f"COALESCE(STRPOS(TO_JSON_STRING(reasons), '\"{reason.reason.code}\"') > 0, FALSE)"


_HELD = PolicyReason.APPROVED_VOLUME
_BESIDE_HELD = f"STRPOS(REPLACE(TO_JSON_STRING(reasons), '\"{_HELD.reason.code}\"', ''), '\"policy_') > 0"
"""Whether the policy had another reason for not approving what was held: each is at least as strict as the limiter's
review, so that without the limiter the decision would have been the same."""

_OWN = f"""
CASE
  WHEN {_because(PolicyReason.EXPOSURE_LIMIT)} THEN NULL
  WHEN {_because(PolicyReason.DECLINE_RATE)} OR {_because(PolicyReason.EXPLORATION)} THEN '{DECLINE}'
  WHEN {_because(_HELD)} AND NOT {_BESIDE_HELD} THEN '{APPROVE}'
  ELSE decision
END
"""
"""What policy and model alone would have decided, as they do for a model in shadow."""

# Straight from the tables, since only there the time parts them into days: a look reads the experiment's days and no
# more. All records of one event hold the same bytes, so any of them will do.
_DECISIONS = f"""
`{{project}}.{tables.DECISIONS.id}`
WHERE prediction_timestamp >= TIMESTAMP_MICROS({{since_us}}) AND prediction_timestamp < TIMESTAMP_MICROS({{until_us}})
  AND customer_id IS NOT NULL
"""

_EARLIEST = f"SELECT UNIX_MICROS(MIN(occurred_at)) AS earliest FROM {_DECISIONS}"

_SAID_SINCE = "kafka_timestamp >= TIMESTAMP_MICROS({since_us})"
"""What is said of a decision is said after it, and by the wall clock too: no earlier days are read."""

_EXPOSURES = f"""
SELECT
  d.event_id, d.customer_id, d.variant, d.decision, d.degraded, d.model_version,
  d.probability_of_default AS probability, UNIX_MICROS(d.prediction_timestamp) AS decided_us,
  UNIX_MICROS(d.kafka_timestamp) - UNIX_MICROS(t.kafka_timestamp) AS latency_us,
  d.declined, d.own, c.event_id IS NULL AND COALESCE(v.verdict, d.decision) = '{APPROVE}' AS lent, d.shadow,
  UNIX_MICROS(d.occurred_at) AS occurred_us, {plan_days("t")} AS plan_days,
  CAST(t.amount AS FLOAT64) AS amount, t.currency, t.source, t.customer_age_bracket AS age_bracket,
  t.customer_state AS state, o.defaulted, UNIX_MICROS(o.observed_at) AS observed_us
FROM (
  SELECT event_id, customer_id, variant, decision, degraded, model_version, probability_of_default,
    prediction_timestamp, occurred_at, kafka_timestamp, kafka_partition,
    decision = '{DECLINE}' OR {_because(PolicyReason.DECLINE_RATE)} AS declined, {_OWN} AS own,
    TO_JSON_STRING(shadow) AS shadow
  FROM {_DECISIONS}
  QUALIFY {FIRST_OF_EVENT}
) AS d
LEFT JOIN (
  SELECT event_id, kafka_timestamp, installments_count, installments_frequency, amount, currency, source,
    customer_age_bracket, customer_state, kafka_partition, load_partition
  FROM `{{project}}.{tables.TRANSACTIONS.id}`
  WHERE occurred_at >= TIMESTAMP_MICROS({{earliest_us}}) AND misplaced IS NOT TRUE
  QUALIFY {FIRST_OF_PURCHASE}
) AS t ON {of_decision("t", "d")}
LEFT JOIN ({latest_outcomes("observed_at >= TIMESTAMP_MICROS({earliest_us})")}) AS o
  ON o.event_id = d.event_id AND o.home = d.kafka_partition
LEFT JOIN ({latest_verdicts(_SAID_SINCE)}) AS v ON v.event_id = d.event_id
LEFT JOIN ({cancelled(_SAID_SINCE)}) AS c ON c.event_id = d.event_id
"""
"""No outcome is observed before its purchase, so that the earliest purchase bounds both."""


@dataclass(frozen=True)
class Exposures:
    """Parallel columns, a row for each decision, in the order of their times."""

    customer_id: NDArray[np.object_]
    arm: NDArray[np.object_]
    decision: NDArray[np.object_]
    declined: NDArray[np.bool_]
    """Or would have been, had the policy's limiter not given it to a person."""
    own: NDArray[np.object_]
    """What policy and model alone would have decided, whatever was decided by the customer's open instalments, by a
    limiter or by chance; empty where that isn't known."""
    lent: NDArray[np.bool_]
    """Came about in the end: approved, by a reviewer's last word or else by the decision, and not called off. What was
    decided after the fact counts as it was decided, since no arm has lent it. Money and outcomes are of these; rates
    are of `decision`."""
    degraded: NDArray[np.bool_]
    """A fallback decided."""
    failed: NDArray[np.bool_]
    """It did since there was no model to ask, or the model gave no answer."""
    model_version: NDArray[np.object_]
    probability: NDArray[np.float64]
    """NaN where no model gave one."""
    shadow: NDArray[np.object_]
    """JSON: what models that didn't decide said."""
    occurred_us: NDArray[np.int64]
    """The purchase's own time."""
    decided_us: NDArray[np.int64]
    latency_s: NDArray[np.float64]
    """From the purchase's record to the decision's; NaN where the purchase isn't in the warehouse."""
    amount: NDArray[np.float64]
    """In US dollars, by the size that the default policy gives to currencies: they are added up, and compared."""
    age_bracket: NDArray[np.object_]
    """`unknown` where the source doesn't say. As `state` for measuring fairness alone."""
    state: NDArray[np.object_]
    defaulted: NDArray[np.float64]
    """1, 0, or NaN where the outcome hasn't matured, or isn't known."""
    matured: NDArray[np.bool_]
    """Whether the purchase is old enough for its outcome to be known, whatever was decided."""

    def __len__(self) -> int:
        return len(self.arm)

    def take(self, which: NDArray[Any]) -> Exposures:
        """The rows of an index or mask."""
        return Exposures(**{field.name: getattr(self, field.name)[which] for field in fields(self)})

    def without(self, spans: Sequence[Span]) -> Exposures:
        """The rows of purchases whose own time lies in none of these."""
        return self.take(outside(self.occurred_us, spans)) if spans else self

    def first_of_customers(self) -> Exposures:
        """Each customer's first decision: what the tests count, since chance dealt out customers, not purchases."""
        return self.take(np.sort(np.unique(self.customer_id.astype(str), return_index=True)[1]))

    def of_arms(self, experiment: Experiment) -> Exposures:
        """Of the champion and of the experiment's arms, without those of others."""
        return self.take(np.isin(self.arm.astype(str), [CHAMPION, *(arm.name for arm in experiment.arms)]))

    def of(self, arm: str) -> Exposures:
        return self.take(self.arm == arm)

    def count(self, hits: NDArray[np.bool_]) -> Count:
        """`hits`: of these rows."""
        return Count(int(hits.sum()), len(self))

    @property
    def approved_and_matured(self) -> Exposures:
        """What a lender learns the outcome of: what was lent, whoever approved it. Declined purchases of a simulator,
        and those called off, have outcomes too; they are not used."""
        return self.take(self.lent & ~np.isnan(self.defaulted) & ~np.isnan(self.probability))


def window(experiment: Experiment, settle_s: float, champion: Pointer | None = None) -> int:
    """From when on decisions count, in microseconds. Scorers take an experiment over within their own interval; until
    then its customers are the champion's, and would make the arms unequal.

    `champion`: where it came into service while the experiment ran, decisions count from then on: what its arm decided
    before was another model's, and says nothing of whether an arm does worse than this one.
    """
    began = epoch_micros(experiment.started_at)
    if champion is not None:
        began = max(began, epoch_micros(champion.promoted_at))
    return began + int(settle_s * MICROS_PER_SECOND)


def read(warehouse: Warehouse, experiment: Experiment, since_us: int, until_us: int) -> Exposures:
    """The decisions made in [since, until) without those of other experiments' arms. Raises WarehouseUnavailable."""
    return read_all(warehouse, since_us, until_us).of_arms(experiment)


def read_all(warehouse: Warehouse, since_us: int, until_us: int) -> Exposures:
    """The decisions made in [since, until), with what has matured by the latest of their purchases (in a replay of
    history that, not the wall clock, says what may be known), and by the latest outcome that its source has told: a
    default is told weeks before a good loan is, and where outcomes come once a night, those of a day would be defaults
    alone until then. So would those of days that a source left out: nothing of them has matured. Erased customers are
    left out. Raises WarehouseUnavailable."""
    bounds = {"project": warehouse.project, "since_us": since_us, "until_us": until_us}
    earliest_us = warehouse.rows(_EARLIEST.format(**bounds))["earliest"][0].as_py()
    columns: dict[str, Values] = {}
    watched_us = 0
    if earliest_us is not None:
        found = warehouse.rows(_EXPOSURES.format(**bounds, earliest_us=earliest_us))
        columns = {name: _values(found[name]) for name in found.column_names}
        watched_us = warehouse.watched_until(int(max(columns["occurred_us"], default=0)))
    return _ordered(columns, watched_us)


def _values(column: pyarrow.ChunkedArray) -> NDArray[Any]:
    """Numbers, NaN for null; or texts, None for null, each of them in memory once: an experiment has millions of rows,
    and what most columns say is one of a few things."""
    import pyarrow
    import pyarrow.compute

    if not pyarrow.types.is_string(column.type):
        return np.asarray(pyarrow.compute.cast(column, pyarrow.float64()).to_numpy())
    encoded = column.combine_chunks().dictionary_encode()
    told: NDArray[np.object_] = np.array([*encoded.dictionary.to_pylist(), None], dtype=object)
    return np.take(told, np.asarray(encoded.indices.fill_null(len(told) - 1)))


def _ordered(columns: Mapping[str, Values], watched_us: int = 0) -> Exposures:
    event, decided = columns.get("event_id", []), columns.get("decided_us", [])
    order = np.lexsort((np.array(event, dtype=str), np.array(decided, dtype=np.int64)))

    def texts(name: str, absent: str = "unknown") -> NDArray[np.object_]:
        values = [absent if value is None else value for value in columns.get(name, [])]
        return np.array(values, dtype=object)[order]

    def numbers(name: str) -> NDArray[np.float64]:
        values = [np.nan if value is None else value for value in columns.get(name, [])]
        return np.array(values, dtype=np.float64)[order]

    occurred_us = numbers("occurred_us")
    mature_us = occurred_us + numbers("plan_days") * MICROS_PER_DAY
    observed_us = numbers("observed_us")
    told = ~np.isnan(observed_us)
    observed = np.where(told, observed_us, 0.0).astype(np.int64)
    source, lent = texts("source"), numbers("lent") == 1
    known_us = watched_until(observed, told, source, watched_us)
    matured = mature_us <= np.minimum(occurred_us.max(initial=0.0), known_us)
    day_us = np.where(matured, mature_us, 0.0).astype(np.int64)  # no plan, no end
    matured &= heard_of(day_us, matured & lent, told, source)
    return Exposures(
        customer_id=texts("customer_id"),
        arm=texts("variant", CHAMPION),
        decision=texts("decision"),
        declined=numbers("declined") == 1,
        own=texts("own", ""),
        lent=lent,
        degraded=texts("degraded", "") != "",
        failed=np.isin(texts("degraded", "").astype(str), _NO_ANSWER),
        model_version=texts("model_version"),
        probability=numbers("probability"),
        shadow=texts("shadow", "[]"),
        occurred_us=occurred_us.astype(np.int64),
        decided_us=numbers("decided_us").astype(np.int64),
        latency_s=numbers("latency_us") / MICROS_PER_SECOND,
        amount=in_usd(numbers("amount"), texts("currency", "USD")),
        age_bracket=texts("age_bracket"),
        state=texts("state"),
        defaulted=np.where(matured, numbers("defaulted"), np.nan),
        matured=matured,
    )
