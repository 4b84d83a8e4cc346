"""The topics, as the declaration that creates them has them."""

from __future__ import annotations

from deploy.documentation import markdown
from shared.contracts import topics
from shared.contracts.topics import DAY_MS


def page() -> str:
    rows = [
        [
            markdown.code(topic.name),
            topic.about,
            "for ever" if topic.retention_ms < 0 else f"{topic.retention_ms // DAY_MS} days",
            ", ".join(topic.written_by),
            ", ".join(topic.read_by),
        ]
        for topic in topics.ALL
    ]
    return markdown.page(
        "Topics",
        f"Created by `python -m shared.kafka.admin create-topics`, all with `KAFKA__PARTITIONS` partitions "
        f"({topics.DEFAULT_PARTITIONS} unless it is set). Keys, headers and partitions: "
        "[the contract](contract.md#topics); what a record holds: [events](events.md).",
        markdown.table(["topic", "what", "kept for", "written by", "read by"], rows),
    )
