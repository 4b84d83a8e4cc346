"""The embedded parts that a benchmark needs, and no more: others would take CPU from what is measured."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from deploy.local.stack import EmbeddedStack


@contextmanager
def kafka_and_valkey(folder: Path) -> Iterator[EmbeddedStack]:
    """Both started, without BigQuery."""
    stack = EmbeddedStack(folder / "stack")
    with ExitStack() as running:
        for part in (stack.kafka, stack.valkey):
            running.callback(part.stop)
            part.start()
        yield stack
