"""`python -m services.ledger --check`: each thing that an audit reads is tried, and named."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys

from deploy.local.ports import free_ports
from deploy.local.stack import EmbeddedStack
from shared.kafka.admin import ensure_topics
from shared.settings import KafkaSettings
from shared.warehouse.schema import ensure_warehouse

PROJECT = "flit-ledger-check"


def checked(stack: EmbeddedStack, **settings: str) -> tuple[int, dict[str, str]]:
    """Exit status, and what it said of each."""
    done = subprocess.run(
        [sys.executable, "-m", "services.ledger", "--check"],
        env={**os.environ, **stack.environment(), "BIGQUERY__PROJECT": PROJECT, "LEDGER__SCORER_URL": "", **settings},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    return done.returncode, dict(line.split(": ", 1) for line in done.stdout.splitlines())


def test_all_is_there_and_what_is_away_is_named(embedded_stack: EmbeddedStack) -> None:
    asyncio.run(ensure_topics(KafkaSettings(bootstrap_servers=embedded_stack.kafka.bootstrap_servers)))
    status, said = checked(embedded_stack)
    assert status == 1
    assert {name: answer == "ok" for name, answer in said.items()} == {
        "kafka": True, "redis": True, "warehouse": False,
    }  # fmt: skip
    assert "NotFound" in said["warehouse"]
    ensure_warehouse(embedded_stack.bigquery.settings.model_copy(update={"project": PROJECT}))
    assert checked(embedded_stack) == (0, {"kafka": "ok", "redis": "ok", "warehouse": "ok"})
    nowhere = f"127.0.0.1:{free_ports(1)[0]}"
    status, said = checked(embedded_stack, REDIS__URL=f"redis://{nowhere}/0", LEDGER__SCORER_URL=f"http://{nowhere}")
    assert status == 1
    assert [name for name, answer in said.items() if answer != "ok"] == ["redis", "rest"]
