"""Real parts for the integration tests: one Kafka, Valkey and BigQuery emulator for the whole session.

Topics have the contract's names, so tests that need a log of their own start a broker of their own
(`deploy.local.kafka.Kafka`, about five seconds).
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import pytest

from deploy.local.ports import free_port
from deploy.local.stack import EmbeddedStack
from deploy.local.valkey import Valkey
from shared.settings import BigQuerySettings


@pytest.fixture(scope="session")
def embedded_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedStack]:
    with EmbeddedStack(tmp_path_factory.mktemp("stack")) as stack:
        yield stack


@pytest.fixture(scope="session")
def kafka_bootstrap(embedded_stack: EmbeddedStack) -> str:
    return embedded_stack.kafka.bootstrap_servers


@pytest.fixture(scope="session")
def redis_url(embedded_stack: EmbeddedStack) -> str:
    return embedded_stack.valkey.url


@pytest.fixture(scope="session")
def bigquery_endpoints(embedded_stack: EmbeddedStack) -> BigQuerySettings:
    return embedded_stack.bigquery.settings


@pytest.fixture(scope="module")
def valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Valkey]:
    """Of a module's own, which may stop it."""
    server = Valkey(tmp_path_factory.mktemp("valkey"), free_port())
    server.start()
    yield server
    server.stop()


@pytest.fixture
def unique() -> str:
    """A short suffix that no other test uses."""
    return uuid.uuid4().hex[:8]
