"""The warehouse's tables and views, from their declarations."""

from __future__ import annotations

from deploy.documentation import markdown
from shared.warehouse import tables, views
from shared.warehouse.columns import Table


def page() -> str:
    parts: list[str] = []
    for dataset, about in tables.DATASETS.items():
        parts += [f"## {dataset}", about]
        for table in tables.ALL:
            if table.dataset == dataset:
                parts += [f"### {table.id}", _about(table), _columns(table)]
        for view in views.ALL:
            if view.dataset == dataset:
                parts += [f"### {view.id}", f"View. {markdown.safe(view.about)}.", f"```sql\n{view.sql.strip()}\n```"]
    return markdown.page(
        "Tables",
        "Created by `python -m shared.warehouse create`; new columns are added in place, anything else is refused. A "
        "personal column is emptied where a customer is [erased](../operations/personal-data.md).",
        *parts,
    )


def _about(table: Table) -> str:
    facts = [f"{markdown.safe(table.about)}."]
    if table.topic is not None:
        facts.append(f"One row for each record of `{table.topic}` that wasn't refused.")
    facts.append(
        f"Partitioned by day of `{table.partition_by}`{', a filter on it required' * table.partition_filter_required}."
    )
    if table.cluster_by:
        facts.append(f"Clustered by {', '.join(markdown.code(name) for name in table.cluster_by)}.")
    return " ".join(facts)


def _columns(table: Table) -> str:
    rows = [
        [
            markdown.code(column.name),
            column.type.value,
            "yes" if column.required else "",
            "yes" if column.personal else "",
            markdown.safe(column.about),
        ]
        for column in table.columns
    ]
    return markdown.table(["column", "type", "required", "personal", ""], rows)
