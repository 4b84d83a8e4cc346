"""One log and one warehouse for all tests of the sink: each adds to them, and all of it has to balance after each."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from deploy.local.stack import EmbeddedStack
from shared.kafka.admin import ensure_topics
from shared.warehouse.schema import ensure_warehouse
from tests.integration.sink.world import World


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("sink")
    with EmbeddedStack(folder / "stack") as stack:
        world = World(stack, folder)
        asyncio.run(ensure_topics(world.kafka))
        ensure_warehouse(world.bigquery)
        yield world
