"""The views, as standard SQL that BigQuery and its emulator both take.

A record may be repeated on its topic, and lie in a wrong partition first; a table mirrors that faithfully. The views
give one row for each event: the first record of the event in log order, misplaced ones passed over. All records of one
customer lie in one partition, so partition and offset order them; rows loaded in bulk have no place and come last.

Two customers' purchases may come under one event id, of which one is decided. Which one, and which outcome is of it,
the partition tells: a customer's own, whatever he is called, and after he was erased.
"""

from __future__ import annotations

from dataclasses import dataclass

from shared.feature_definitions.state import DEFAULT_PERIOD_DAYS, PERIOD_DAYS
from shared.warehouse import tables
from shared.warehouse.columns import Table
from shared.warehouse.tables import BNPL_RAW, ML

DECIDED_AFTER_THE_FACT_HOURS = 24
"""From so long after the purchase on, a decision kept nobody from lending: the purchase stood already, as in a history
that is taken over from an earlier system. Its outcome is known whatever was decided."""

DAYS_PER_INSTALMENT = DEFAULT_PERIOD_DAYS
"""Of the standard terms: payments are bi-weekly."""


def plan_days(purchase: str) -> str:
    """How many days after it everything is known of the loan of a purchase: as long as its payments go on, and never
    less than the standard terms; NULL where it states no plan. `purchase`: the table's name in the query."""
    # A good loan is told by the standard terms, whatever its own are: of a weekly plan that counted as soon as its last
    # payment was due, only defaults would be known until then.
    longer = {name: days for name, days in PERIOD_DAYS.items() if days > DEFAULT_PERIOD_DAYS}
    cases = " ".join(f"WHEN {purchase}.installments_frequency = '{name}' THEN {days}" for name, days in longer.items())
    return f"(CASE {cases} ELSE {DEFAULT_PERIOD_DAYS} END * {purchase}.installments_count)"


@dataclass(frozen=True, slots=True)
class View:
    """A view; `{project}` in its SQL stands for the project."""

    dataset: str
    name: str
    about: str
    sql: str

    @property
    def id(self) -> str:
        return f"{self.dataset}.{self.name}"

    def query(self, project: str) -> str:
        return self.sql.replace("{project}", project).strip()


def _columns(table: Table) -> str:
    """Named one by one: BigQuery fixes what a star means when a view is made."""
    return ", ".join(column.name for column in table.columns)


def _at(view_or_table: Table | View) -> str:
    return f"`{{project}}.{view_or_table.id}`"


FIRST_OF_EVENT = (
    "ROW_NUMBER() OVER (PARTITION BY event_id ORDER BY kafka_partition NULLS LAST, kafka_offset NULLS LAST) = 1"
)
"""Which of its records counts for an event."""


def home(of: str = "") -> str:
    """The partition where a purchase or outcome lies, or would lie, in Kafka; -1: nobody has said. `of`: the table's
    name in the query."""
    table = f"{of}." if of else ""
    return f"COALESCE({table}kafka_partition, {table}load_partition, -1)"


FIRST_OF_PURCHASE = FIRST_OF_EVENT.replace("PARTITION BY event_id", f"PARTITION BY event_id, {home()}")
"""Which of its records counts for a purchase."""


def of_decision(purchase: str, decision: str) -> str:
    """A condition: that this is the purchase that was decided, or an outcome of it. Both: the tables' names in the
    query."""
    return f"{purchase}.event_id = {decision}.event_id AND {home(purchase)} = {decision}.kafka_partition"


def first_records(table: Table, which: str = "TRUE") -> str:
    """A query, for others to read from: one row for each event, or purchase, of the rows that meet a condition which
    doesn't tell its records apart. A condition on days has to be here: outside, all of them would be read."""
    return f"""
SELECT {_columns(table)}
FROM {_at(table)}
WHERE {which}
QUALIFY {FIRST_OF_PURCHASE if table is tables.TRANSACTIONS else FIRST_OF_EVENT}
"""


def decided_since(first_us: object) -> str:
    """A condition on decisions that keeps those of purchases from a moment on. They lie in days of their own time,
    which is hardly ever before the purchase's: older days aren't touched."""
    return f"prediction_timestamp >= TIMESTAMP_SUB(TIMESTAMP_MICROS({first_us}), INTERVAL 1 DAY)"


def latest_outcomes(which: str = "TRUE") -> str:
    """A query, for others to read from; `which`: a condition on the rows that doesn't tell records of one event apart.
    A correction is a later record of the same event and the same customer, so of the same partition (`home`); of those
    loaded in bulk, the one that was observed later."""
    return _latest_outcomes(which, f"event_id, {home()}")


def _latest_outcomes(which: str, of: str) -> str:
    return f"""
  SELECT event_id, defaulted, days_to_first_missed_payment, observed_at, {home()} AS home
  FROM {_at(tables.OUTCOMES)}
  WHERE misplaced IS NOT TRUE AND {which}
  QUALIFY ROW_NUMBER() OVER (
    PARTITION BY {of}
    ORDER BY kafka_offset DESC NULLS LAST, observed_at DESC, load_id DESC, load_row DESC) = 1
"""


LATEST_OUTCOMES = latest_outcomes()


def latest_verdicts(*which: str) -> str:
    """A query, for others to read from: what a reviewer said last of each event. `which`: conditions on the rows.

    A moment of the stream is none: people speak by the wall clock (`updated_at`), purchases have their own time, and in
    a replayed history the one is long after the other. So bounded, nobody would have said anything.
    """
    return f"""
  SELECT event_id, verdict
  FROM {_at(tables.DECISION_UPDATES)}
  WHERE {" AND ".join(("kind = 'verdict'", *which))}
  QUALIFY ROW_NUMBER() OVER (PARTITION BY event_id ORDER BY kafka_offset DESC NULLS LAST) = 1
"""


LATEST_VERDICTS = latest_verdicts()

_EXPLORED = "policy_exploration"
"""The policy's reason (a test compares them). Written out: the images that create views carry no policy."""

AFTER_THE_FACT = f"(TIMESTAMP_DIFF(d.prediction_timestamp, d.occurred_at, HOUR) >= {DECIDED_AFTER_THE_FACT_HOURS})"
"""Whether one row `d` of the decisions was made when its purchase stood already, so that it kept nobody from lending.
"""

EXPLORED = f"(NOT {AFTER_THE_FACT} AND COALESCE(STRPOS(TO_JSON_STRING(d.reasons), '\"{_EXPLORED}\"') > 0, FALSE))"
"""Whether chance alone let one row `d` of the decisions pass, so that its outcome stands for others' too."""


def cancelled(*which: str) -> str:
    """A query, for others to read from: what was called off. `which`: as of `latest_verdicts`."""
    conditions = " AND ".join(("kind = 'cancel'", *which))
    return f"SELECT DISTINCT event_id FROM {_at(tables.DECISION_UPDATES)} WHERE {conditions}"


CANCELLED = cancelled()

OBSERVED = f"c.event_id IS NULL AND (COALESCE(v.verdict, d.decision) = 'approve' OR {AFTER_THE_FACT})"
"""Whether a lender learns the outcome of a decision: of one row `d` of the decisions, with `v` of `LATEST_VERDICTS` and
`c` of `CANCELLED` beside it, where there are any."""

RAW_WITH_OUTCOMES = View(
    BNPL_RAW,
    "raw_bnpl_txs_with_outcomes",
    "raw_bnpl_txs_json with simtom's two label fields in json_body once they are known: by the wall clock",
    # No de-duplication here: a filter on _timestamp has to reach the table, which requires one.
    f"""
SELECT
  r._timestamp,
  IF(o.event_id IS NULL, r.json_body,
     JSON_SET(JSON_SET(r.json_body, '$.will_default', o.defaulted),
              '$.days_to_first_missed_payment',
              IF(o.days_to_first_missed_payment IS NULL, JSON 'null', TO_JSON(o.days_to_first_missed_payment)))
  ) AS json_body,
  r._ingestion_timestamp, r.event_id, r.kafka_topic, r.kafka_partition, r.kafka_offset, r.load_id
FROM {_at(tables.RAW_TRANSACTIONS)} AS r
LEFT JOIN ({_latest_outcomes("observed_at <= CURRENT_TIMESTAMP()", "event_id")}) AS o ON o.event_id = r.event_id
""",
)

TRANSACTIONS_CURRENT = View(
    ML,
    "transactions_current",
    "One row for each purchase",
    first_records(tables.TRANSACTIONS, "misplaced IS NOT TRUE"),
)

DECISIONS_CURRENT = View(
    ML,
    "decisions_current",
    "One row for each event: the first decision on the topic",
    first_records(tables.DECISIONS),
)


def loaded_features(since_us: object = None) -> str:
    """A query, for others to read from: the latest features of each purchase that was loaded in bulk and never decided.
    `since_us`: of purchases from then on; no other days are read. Who was erased while features were made of him has
    none: it is his purchase that says whose they are."""
    since, decided = "TRUE", "TRUE"
    if since_us is not None:
        since, decided = f"occurred_at >= TIMESTAMP_MICROS({since_us})", decided_since(since_us)
    return f"""
  SELECT f.event_id, f.customer_id, f.occurred_at, f.feature_set_version, f.features, f.feature_hash, t.home
  FROM (SELECT * FROM {_at(tables.FEATURES)} WHERE load_id IS NOT NULL AND customer_id IS NOT NULL AND {since}) AS f
  JOIN (
    SELECT DISTINCT event_id, load_id, COALESCE(load_partition, -1) AS home FROM {_at(tables.TRANSACTIONS)}
    WHERE load_id IS NOT NULL AND customer_id IS NOT NULL AND {since}
  ) AS t ON t.event_id = f.event_id AND t.load_id = f.load_id
  LEFT JOIN (SELECT event_id FROM {_at(tables.DECISIONS)} WHERE {decided}) AS d ON d.event_id = f.event_id
  WHERE d.event_id IS NULL
  QUALIFY ROW_NUMBER() OVER (PARTITION BY f.event_id ORDER BY f.computed_at DESC) = 1
"""


LOADED_FEATURES = loaded_features()


def examples_since(outcomes: str, since_us: int) -> str:
    """As `examples`, of those without an outcome too, of purchases from a moment on: of decisions, purchases and
    features only those days are read."""
    since = f"occurred_at >= TIMESTAMP_MICROS({since_us:d})"
    return _examples(
        outcomes,
        "LEFT JOIN",
        f"({first_records(tables.DECISIONS, f'{decided_since(since_us)} AND {since}')})",
        f"({first_records(tables.TRANSACTIONS, f'misplaced IS NOT TRUE AND {since}')})",
        loaded_features(since_us),
    )


def examples(outcomes: str, join: str) -> str:
    """A query, for others to read from: purchases that were decided or loaded in bulk, with the outcomes that a query
    gives them. `join`: `JOIN`, or `LEFT JOIN` for those without one, too."""
    return _examples(outcomes, join, _at(DECISIONS_CURRENT), _at(TRANSACTIONS_CURRENT), LOADED_FEATURES)


def _examples(outcomes: str, join: str, decisions: str, transactions: str, loaded: str) -> str:
    return f"""
SELECT
  d.event_id, d.transaction_id, d.customer_id, d.occurred_at, d.prediction_timestamp AS decided_at,
  TIMESTAMP_ADD(d.occurred_at, INTERVAL {plan_days("t")} DAY) AS mature_at,
  t.source, t.amount, t.currency, t.installments_count, t.source_scores_risk_level AS source_risk_level,
  o.defaulted, o.days_to_first_missed_payment, o.observed_at,
  d.feature_set_version, d.features, d.feature_hash,
  d.decision, d.probability_of_default, d.expected_loss, d.model_version, d.policy_version, d.variant, d.degraded,
  d.channel,
  {EXPLORED} AS explored,
  {OBSERVED} AS observed
FROM {decisions} AS d
JOIN {transactions} AS t ON {of_decision("t", "d")}
{join} ({outcomes}) AS o ON o.event_id = d.event_id AND o.home = d.kafka_partition
LEFT JOIN ({LATEST_VERDICTS}) AS v ON v.event_id = d.event_id
LEFT JOIN ({CANCELLED}) AS c ON c.event_id = d.event_id
WHERE d.customer_id IS NOT NULL
UNION ALL
SELECT
  f.event_id, t.transaction_id, f.customer_id, f.occurred_at, CAST(NULL AS TIMESTAMP) AS decided_at,
  TIMESTAMP_ADD(f.occurred_at, INTERVAL {plan_days("t")} DAY) AS mature_at,
  t.source, t.amount, t.currency, t.installments_count, t.source_scores_risk_level AS source_risk_level,
  o.defaulted, o.days_to_first_missed_payment, o.observed_at,
  f.feature_set_version, f.features, f.feature_hash,
  CAST(NULL AS STRING) AS decision, CAST(NULL AS FLOAT64) AS probability_of_default,
  CAST(NULL AS FLOAT64) AS expected_loss, CAST(NULL AS STRING) AS model_version,
  CAST(NULL AS STRING) AS policy_version, CAST(NULL AS STRING) AS variant, CAST(NULL AS STRING) AS degraded,
  CAST(NULL AS STRING) AS channel, FALSE AS explored, TRUE AS observed
FROM ({loaded}) AS f
JOIN {transactions} AS t ON t.event_id = f.event_id AND {home("t")} = f.home
{join} ({outcomes}) AS o ON o.event_id = f.event_id AND o.home = f.home
"""


TRAINING_EXAMPLES = View(
    ML,
    "training_examples",
    "One row for each purchase with a known outcome, decided or loaded in bulk (then all that a decision would say is "
    "NULL, and its outcome is observed: somebody lent). Readers filter mature_at <= @as_of: before that, defaults "
    "show and good loans don't; and observed: a lender learns no outcome of what was turned away or cancelled, though "
    "a simulator tells it",
    examples(LATEST_OUTCOMES, "JOIN"),
)
"""Only of an erased customer is there no id: his features are gone, and nothing is learnt from him any more."""

ALL: tuple[View, ...] = (RAW_WITH_OUTCOMES, TRANSACTIONS_CURRENT, DECISIONS_CURRENT, TRAINING_EXAMPLES)
"""In the order in which they have to be created: a view may read those before it."""
