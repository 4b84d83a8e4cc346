"""A warehouse and a registry to look at: purchases of the last months, decided by the scorer's own parts, with what
became of them and what was measured since. Near the wall clock, for the console looks back from there."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec

from services.sink.chain import beginning, chained
from services.trainer.warehouse import DriftRow, Evaluation, Warehouse
from shared.contracts import topics
from shared.contracts.dead_letters import dead_letter
from shared.contracts.events import Decision, Transaction, Verdict, encode
from shared.contracts.identity import canonical_time, from_epoch_micros, partition_of
from shared.contracts.rejections import Rejection, RejectionReason
from shared.model_artifact.registry import ModelRegistry
from shared.settings import BigQuerySettings
from shared.warehouse import tables
from shared.warehouse.schema import ensure_warehouse
from tests.integration.warehouse.rows import append, write
from tests.research.simulated import SimulatedHistory, simulated_history
from tests.unit.sink.records import PARTITIONS, LogRecord, decision_update, record
from tests.unit.trainer.decided import Past, decided, trained

DAYS, DAILY, DECIDED = 110, 16, 1_400
"""Of which the first decided ones have matured: plans take eight weeks and more."""

PACE = timedelta(milliseconds=500)
"""Between decisions, or a little less: so all of them are of the last quarter of an hour."""

LIVE = 12
"""Of those to review, bought just now: all others are a history that was decided long after the fact."""

DRIFTING = "amount"
LIVE_AUC = 0.612
"""Of the last four weeks of which enough has matured."""


@dataclass(frozen=True)
class World:
    settings: BigQuerySettings
    registry: ModelRegistry
    folder: Path
    decisions: Sequence[Decision]

    @property
    def environment(self) -> dict[str, str]:
        """For whoever looks at it."""
        return {
            **{f"BIGQUERY__{name.upper()}": value for name, value in self.settings.model_dump().items()},
            "MODEL_REGISTRY__URI": str(self.folder / "models"),
            "CONSOLE__LEDGER_REPORT": str(self.folder / "ledger.json"),
        }

    def first(self, verdict: Verdict) -> Decision:
        """A scored one, decided by a model that the registry still has."""
        kept = set(self.registry.versions())
        return next(one for one in self.decisions if one.decision is verdict and one.model_version in kept)


def made(settings: BigQuerySettings, folder: Path) -> World:
    ensure_warehouse(settings)
    registry = ModelRegistry(str(folder / "models"))
    first_day = datetime.now(UTC).date() - timedelta(days=DAYS)
    history = simulated_history("bnpl_history", days=DAYS, daily=DAILY, seed=6, first_day=first_day)
    models = trained(registry, history)
    registry.promote(models.boosted.version, "test")
    registry.promote(models.linear.version, "test")
    begun = datetime.now(UTC) - DECIDED * PACE - timedelta(minutes=1)
    past = _with_live(asyncio.run(decided(registry, models, history, DECIDED, folder, started=begun, pace=PACE)))
    _logged(settings, past)
    _outcomes(settings, history)
    _measured(settings, models.linear.version)
    found = [_decision(each) for each in past.decisions]
    write(settings, _said(found))
    return World(settings, registry, folder, found)


def shared_event(decisions: Sequence[Decision]) -> Decision:
    """One whose event id another customer's purchase has as well, which comes before it in the order of partitions."""
    return next(
        one
        for one in decisions
        if one.decision is Verdict.DECLINE and partition_of(one.customer_id.encode(), PARTITIONS) > 0
    )


def _with_live(past: Past) -> Past:
    """With some of those to review once more, as purchases that were decided within a second."""
    found = [
        (purchase, logged, decision)
        for purchase, logged in zip(past.purchases, past.decisions, strict=True)
        if (decision := _decision(logged)).decision is Verdict.REVIEW
    ]
    purchases, decisions = [], []
    for number, (purchase, logged, decision) in enumerate(found[-LIVE:]):
        told = {
            "event_id": f"live-{number}",
            "occurred_at": canonical_time(datetime.fromisoformat(decision.decided_at) - timedelta(seconds=1)),
        }
        sent = msgspec.json.decode(purchase.value or b"", type=Transaction)
        # In places behind all others of their partitions.
        offset = len(past.purchases) + number
        bought = encode(msgspec.structs.replace(sent, **told))
        purchases.append(replace(purchase, offset=offset, timestamp=logged.timestamp, value=bought))
        decisions.append(replace(logged, offset=offset, value=encode(msgspec.structs.replace(decision, **told))))
    return Past([*past.purchases, *purchases], [*past.decisions, *decisions])


def _decision(logged: LogRecord) -> Decision:
    return msgspec.json.decode(logged.value or b"", type=Decision)


def _logged(settings: BigQuerySettings, past: Past) -> None:
    rows = past.rows()
    arrived = {row["event_id"]: row["kafka_timestamp"] for row in rows[tables.DECISIONS]}
    for number, row in enumerate(rows[tables.TRANSACTIONS]):  # the history was streamed just now
        row["kafka_timestamp"] = arrived[row["event_id"]] - 1000 * (12 + number % 30)
    for partition in {row["kafka_partition"] for row in rows[tables.DECISIONS]}:
        mine = [row for row in rows[tables.DECISIONS] if row["kafka_partition"] == partition]
        append(settings, tables.DECISIONS, chained(mine, beginning(topics.DECISIONS.name, partition)))
    append(settings, tables.TRANSACTIONS, rows[tables.TRANSACTIONS])
    event = shared_event([_decision(logged) for logged in past.decisions]).event_id
    row = next(row for row in rows[tables.TRANSACTIONS] if row["event_id"] == event)
    other = {"customer_id": "another", "kafka_partition": 0, "kafka_offset": 2 * DECIDED, "amount": row["amount"] + 1}
    append(settings, tables.TRANSACTIONS, [row | other])


def _outcomes(settings: BigQuerySettings, history: SimulatedHistory) -> None:
    """Those that can be known by now."""
    now = canonical_time(datetime.now(UTC))
    write(
        settings,
        [
            LogRecord(
                topics.OUTCOMES.name,
                partition_of(logged.outcome.customer_id.encode(), PARTITIONS),
                logged.offset,
                logged.observed_us // 1000,
                logged.outcome.customer_id.encode(),
                encode(logged.outcome),
            )
            for logged in history.outcomes
            if logged.outcome.observed_at <= now
        ],
    )


def _said(decisions: Sequence[Decision]) -> list[LogRecord]:
    """A verdict on a purchase that was in review, and refused records of two kinds."""
    now = datetime.now(UTC)
    judged = next(one for one in reversed(decisions) if one.decision is Verdict.REVIEW)
    verdict = decision_update(
        customer_id=judged.customer_id, event_id=judged.event_id, actor="anna", updated_at=canonical_time(now)
    )
    millis = int(now.timestamp() * 1000)
    said = [record(topics.DECISION_UPDATES, encode(verdict), key=judged.customer_id, timestamp=millis)]
    for number, (reason, value) in enumerate(
        (
            (RejectionReason.SYNTAX, b"{"),
            (RejectionReason.SYNTAX, b'{"customer_id": "ada"'),
            (RejectionReason.RANGE, b"[]"),
        )
    ):
        letter = dead_letter(
            Rejection(reason, "", "JSON"),
            service="features",
            topic=topics.TRANSACTIONS.name,
            partition=1,
            offset=number,
            received_at=canonical_time(now),
            key=b"cust_000001",
            value=value,
        )
        said.append(record(topics.DEAD_LETTERS, encode(letter), offset=number, timestamp=millis - number * 86_400_000))
    return said


def _measured(settings: BigQuerySettings, version: str) -> None:
    """As the trainer appends it."""
    now = datetime.now(UTC)
    week = (from_epoch_micros(int((now - timedelta(days=7)).timestamp() * 1_000_000)), canonical_time(now))
    warehouse = Warehouse(settings)
    for kind, auc in (("matured", 0.571), ("training", 0.9), ("recalibration", 0.8)):  # the last ones are no measure
        warehouse.append_evaluation(Evaluation(version, "logistic", kind, *week, 500, {"auc": auc, "brier": 0.043}))
    warehouse.append_drift(
        [
            DriftRow(version, name, score, name == DRIFTING, *week, 500)
            for name, score in ((DRIFTING, 0.31), ("tenure_days", 0.04), ("credit_limit", 0.02))
        ]
    )
    _monitored(warehouse, version, now)


def _monitored(warehouse: Warehouse, version: str, now: datetime) -> None:
    """As the monitor does: live figures of several periods, one of them known better since, and drift of several
    comparisons in one look, of other things than features as well."""

    def row(ago: int, **told: object) -> dict[str, object]:
        measured = canonical_time(now - timedelta(hours=1 + ago))
        return {"evaluated_at": measured, "model_version": version, "rows": 90, **told}

    def window(days: int, ended: int) -> dict[str, str]:
        end = now - timedelta(days=ended)
        return {"window_from": canonical_time(end - timedelta(days=days)), "window_to": canonical_time(end)}

    month = {"period": "four weeks", **window(28, 30)}
    warehouse.insert(
        tables.MODEL_PERFORMANCE,
        [
            row(2, auc=0.9, **month),
            row(1, auc=LIVE_AUC, **month),
            row(0, period="four weeks", **window(28, 2)),
            row(0, auc=0.8, period="four weeks", **window(28, 58)),
            row(0, auc=0.7, period="day", **window(1, 1)),
        ],
    )
    warehouse.insert(
        tables.DRIFT_METRICS,
        [
            row(0, feature=name, score=score, drifted=score > 0.2, kind=kind, window_days=7, against=against,
                **window(7, 0))
            for kind, name, against, score in (
                ("feature", "tenure_days", "reference", 0.4), ("feature", DRIFTING, "reference", 0.3),
                ("feature", "tenure_days", "before", 0.1), ("prediction", "probability", "reference", 0.9),
            )
        ],
    )  # fmt: skip
