"""What the demo found: `out/demo.json`, and what in it isn't as it has to be."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from google.cloud import bigquery

from deploy.local.observer import Observed
from services.ledger import checks, warehouse_rows
from shared.settings import BigQuerySettings

TIMEOUT_SECONDS = 60

FILTERED = {
    "flit_bnpl_raw.raw_bnpl_txs_json": "_timestamp",
    "flit_ml_raw.raw_bnpl_prediction_logs": "prediction_timestamp",
}
"""Tables that refuse a query without a filter on their partition: ours is one that every row passes."""


def collect(
    seen: Observed, model: Mapping[str, Any], history_events: int, environment: Mapping[str, str], wanted: int
) -> dict[str, Any]:
    """The result of the live part, and the counts of the warehouse."""
    client = warehouse_rows.open_client(warehouse_settings(environment))
    try:
        current = _current_rows(client)
        rows = {table: _count(client, table) for tables in checks.TABLES.values() for table in tables}
    finally:
        client.close()
    duration = (seen.last_at or 0.0) - (seen.first_at or 0.0)
    return {
        "events_wanted": wanted,
        "events_ingested": len(seen.purchases),
        "history_events": history_events,
        "decisions": len(seen.decided),
        "duplicate_decisions": len(seen.contradictions),
        "missing_decisions": len(seen.missing),
        "events_without_one_current_row": sum(current.get(event_id, 0) != 1 for event_id in seen.purchases),
        "warehouse_rows": rows,
        "dead_letters": dict(seen.dead_letters),
        "decision_mix": dict(seen.mix),
        "degraded": dict(seen.degraded),
        "latency_ms": seen.quantiles_ms(),
        "throughput_eps": round(len(seen.decided) / duration, 1) if duration > 0 else 0.0,
        "model": {
            name: model.get(name) for name in ("version", "family", "auc", "auc_ceiling", "brier", "ece", "counts")
        },
    }


def warehouse_settings(environment: Mapping[str, str]) -> BigQuerySettings:
    """Where the services of this environment have their warehouse."""
    return BigQuerySettings(
        project=environment["BIGQUERY__PROJECT"],
        rest_endpoint=environment["BIGQUERY__REST_ENDPOINT"],
        grpc_endpoint=environment["BIGQUERY__GRPC_ENDPOINT"],
    )


def problems(result: Mapping[str, Any]) -> list[str]:
    """Why the demo isn't a success; empty: it is."""
    found = []
    if result["events_ingested"] < result["events_wanted"]:
        found.append(f"{result['events_ingested']} live events instead of {result['events_wanted']}")
    for name, what in (
        ("missing_decisions", "events without a decision"),
        ("duplicate_decisions", "events with two different decisions"),
        ("events_without_one_current_row", "events without exactly one row in decisions_current"),
    ):
        if result[name]:
            found.append(f"{result[name]} {what}")
    if not result["ledger_balanced"]:
        found.append("the ledger doesn't balance: see out/ledger.json")
    return found


def _count(client: bigquery.Client, table: str) -> int:
    where = f" WHERE {FILTERED[table]} > TIMESTAMP '1970-01-01'" if table in FILTERED else ""
    sql = f"SELECT COUNT(*) AS n FROM `{client.project}.{table}`{where}"
    return int(next(iter(client.query(sql, timeout=TIMEOUT_SECONDS).result(timeout=TIMEOUT_SECONDS))).n)


def _current_rows(client: bigquery.Client) -> dict[str, int]:
    """Event id → rows in `decisions_current`."""
    sql = (
        "SELECT event_id, COUNT(*) AS n FROM flit_ml.decisions_current"
        " WHERE prediction_timestamp > TIMESTAMP '1970-01-01' GROUP BY event_id"
    )
    rows = client.query(sql, timeout=TIMEOUT_SECONDS).result(timeout=TIMEOUT_SECONDS, page_size=20_000)
    return {row.event_id: row.n for row in rows}
