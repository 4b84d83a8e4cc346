"""Warehouse: do rows arrive, how late, and does it all balance?"""

from __future__ import annotations

from deploy.monitoring.alerts import LAST_AUDIT
from deploy.monitoring.dashboards.panels import Dashboard, Panel, Query, quantiles

WAREHOUSE = Dashboard(
    "flit-warehouse",
    "Flit Risk: warehouse",
    "The mirror of every topic in BigQuery, and the audit of it all.",
    [
        Panel(
            "Records without a row yet", "What the sink has yet to write.", "short",
            [Query('sum(flit_consumer_lag_records{service="sink"})', "waiting")], kind="stat", limits=(1000, 5000),
            alerts=("ConsumerLag", "SinkWritesNothing"), width=6,
        ),
        Panel(
            "Lanes that wait", "Tables' partitions whose appends fail at the moment.", "none",
            [Query("sum(flit_sink_waiting) or vector(0)", "waiting")], kind="stat", limits=(1,), alerts=("SinkWaits",),
            width=6,
        ),
        Panel(
            "Violations", "Records that the last audit found wrong (of repeated audits).", "none",
            [Query("sum(last_over_time(flit_ledger_violations_records[6h]))", "violations")], kind="stat", limits=(1,),
            alerts=("LedgerUnbalanced",), width=6,
        ),
        Panel(
            "Since the last audit", "Where audits are repeated.", "s",
            [Query(f"time() - max({LAST_AUDIT})", "ago")], kind="stat",
            limits=(43_200, 86_400), alerts=("LedgerSilent",), width=6,
        ),
        Panel(
            "Rows", "Acknowledged by the warehouse, by table.", "cps",
            [Query('sum by (table) (rate(flit_sink_rows_total{table=~"$table"}[$__rate_interval]))', "{{table}}")],
            alerts=("SinkWritesNothing",),
        ),
        Panel(
            "Record to row", "From the record's timestamp to its row, for the newest record of a batch.", "s",
            quantiles("flit_sink_visible_seconds"), limits=(10,), alerts=("RowsLate",),
        ),
        Panel(
            "Time of an append", "By table, tries included; the slowest of a hundred.", "s",
            [Query(
                "histogram_quantile(0.99, sum by (le, table)"
                ' (rate(flit_sink_append_seconds_bucket{table=~"$table"}[$__rate_interval])))', "{{table}}",
            )],
        ),
        Panel(
            "Appends tried again", "By table and what BigQuery said.", "cps",
            [Query(
                'sum by (table, code) (rate(flit_sink_append_failures_total{table=~"$table"}[$__rate_interval]))',
                "{{table}} {{code}}",
            )],
            alerts=("SinkWaits",),
        ),
        Panel(
            "Streams taken over", "In the last hour: once for each table and partition at a start.",
            "none", [Query('sum by (table) (increase(flit_sink_takeovers_total{table=~"$table"}[1h]))', "{{table}}")],
        ),
        Panel(
            "Records without a row", "By topic: refused, and in dead-letters instead.", "cps",
            [Query(
                'sum by (topic) (rate(flit_events_total{service="sink",result="refused"}[$__rate_interval]))',
                "{{topic}}",
            )],
            alerts=("RecordsRefused",),
        ),
        Panel(
            "Violations by check", "P1 to P8 are in docs/explanation/guarantees.md.", "none",
            [Query("max by (check) (last_over_time(flit_ledger_violations_records[6h]))", "{{check}}")],
            kind="bargauge", limits=(1,), alerts=("LedgerUnbalanced", "FeaturesMismatch"),
        ),
        Panel(
            "Rebuilds", "Records taken in again; of these, those that only the warehouse had.", "cps",
            [Query("sum(rate(flit_features_rebuilt_records_total[$__rate_interval]))", "from the log"),
             Query("sum(rate(flit_features_rebuilt_rows_total[$__rate_interval])) or vector(0)", "from the warehouse")],
            alerts=("StatesRebuilding", "RebuildGaps"),
        ),
    ],
    {"table": "flit_sink_rows_total"},
)  # fmt: skip
