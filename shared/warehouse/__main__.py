"""`python -m shared.warehouse create | describe`: make the warehouse what is declared, or say what it should hold."""

from __future__ import annotations

import argparse
import sys

import structlog

from shared.settings import BigQuerySettings, ServiceSettings, load_settings
from shared.telemetry import logging
from shared.telemetry.process import EXIT_FAILED
from shared.warehouse import tables, views
from shared.warehouse.schema import SchemaConflict, WarehouseUnreachable, ensure_warehouse

log = structlog.get_logger()


class WarehouseSettings(ServiceSettings):
    bigquery: BigQuerySettings = BigQuerySettings()


def describe() -> str:
    """The declarations as text: tables with their columns, then views with their SQL."""
    lines: list[str] = []
    for table in tables.ALL:
        lines += [f"{table.id}: {table.about}", f"  by day of {table.partition_by}; topic {table.topic or 'none'}"]
        for column in table.columns:
            mode = " REQUIRED" if column.required else ""
            lines.append(f"  {column.name} {column.type}{mode}" + (f": {column.about}" if column.about else ""))
    for view in views.ALL:
        lines += [f"{view.id} (view): {view.about}", *(f"  {line}" for line in view.sql.strip().splitlines())]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m shared.warehouse", description="Tables and views of Flit Risk")
    parser.add_argument("command", choices=["create", "describe"])
    arguments = parser.parse_args()
    if arguments.command == "describe":
        sys.stdout.write(describe() + "\n")
        return
    settings = load_settings(WarehouseSettings)
    logging.configure("warehouse", settings.log.level, settings.log.format)
    try:
        changes = ensure_warehouse(settings.bigquery)
    except (SchemaConflict, WarehouseUnreachable) as refused:
        log.error("warehouse_not_ready", reason=str(refused))
        raise SystemExit(EXIT_FAILED) from None
    log.info("warehouse_ready", changes=[str(change) for change in changes])


if __name__ == "__main__":
    main()
