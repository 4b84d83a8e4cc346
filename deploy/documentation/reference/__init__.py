"""Reference pages, each made from what the code itself declares."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from deploy.documentation.reference import alerts, commands, events, metrics, rest, settings, tables, topics

PAGES: Mapping[str, Callable[[], str]] = {
    "reference/settings.md": settings.page,
    "reference/topics.md": topics.page,
    "reference/events.md": events.page,
    "reference/openapi.md": rest.page,
    "reference/metrics.md": metrics.page,
    "reference/alerts.md": alerts.page,
    "reference/commands.md": commands.page,
    "reference/tables.md": tables.page,
}
"""Place below `docs/` → what makes its text."""

FILES: Mapping[str, Callable[[], str]] = {"reference/openapi.json": rest.document_as_json}
"""The same for what isn't a page."""
