from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest

from services.scorer.__main__ import main
from services.scorer.guard import PartitionGuard, Readiness
from services.scorer.settings import ScorerSettings
from shared.contracts.topics import DECISIONS, FEATURES
from shared.settings import load_settings


def test_defaults_are_those_of_the_contract() -> None:
    settings = ScorerSettings()
    assert (settings.scorer.http_host, settings.scorer.http_port, settings.metrics.port) == ("127.0.0.1", 8000, 9103)
    assert FEATURES.retention_ms <= settings.scorer.claim_ttl_seconds * 1000 <= DECISIONS.retention_ms


def test_production_refuses_to_start_without_keys(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PROFILE", "production")
    monkeypatch.setenv("KAFKA__SECURITY_PROTOCOL", "SSL")
    monkeypatch.setenv("KAFKA__SSL_CERTFILE", "certificate.pem")
    monkeypatch.setenv("REDIS__URL", "rediss://redis.example.com:6379/0")
    with pytest.raises(SystemExit) as ended:
        load_settings(ScorerSettings)
    assert ended.value.code == 2
    assert "SCORER__API_KEYS_FILE" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("SCORER__HTTP_PORT", "70000"),
        ("SCORER__POLICY_FILE", "/nowhere/policy.yaml"),
        ("SCORER__API_KEYS_FILE", "/nowhere/keys"),
        ("SCORER__HTTP_HOST", "203.0.113.1"),
        ("MODEL_REGISTRY__URI", "ftp://models"),
        ("SCORER__CLAIM_TTL_SECONDS", str(DECISIONS.retention_ms // 1000 + 1)),
    ],
)
def test_a_bad_setting_ends_the_process_with_one_line_that_names_it(
    variable: str, value: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["scorer"])
    monkeypatch.setenv(variable, value)
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    [line] = capsys.readouterr().err.strip().splitlines()
    assert variable in line


def test_the_scorer_loads_no_training_or_warehouse_library() -> None:
    script = "import sys, services.scorer.__main__; print(' '.join({name.split('.')[0] for name in sys.modules}))"
    loaded = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60, cwd=Path.cwd()
    ).stdout.split()
    unwanted = {"xgboost", "pandas", "sklearn", "evidently", "google", "pyarrow", "skl2onnx", "onnx", "scipy"}
    assert unwanted & set(loaded) == set()


class _Partitions:
    def __init__(self) -> None:
        self.asked = 0

    async def check_partitions(self, count: int) -> None:
        assert count == 4
        self.asked += 1


async def test_the_partition_count_is_confirmed_once() -> None:
    store = _Partitions()
    guard = PartitionGuard(store, 4)
    for _ in range(3):
        await guard.confirm()
    assert store.asked == 1


class _Consumer:
    assigned = False


async def test_ready_from_the_first_assignment_until_told_to_stop() -> None:
    consumer, stop = _Consumer(), asyncio.Event()
    readiness = Readiness(consumer, stop)
    assert readiness.reason() is not None
    consumer.assigned = True
    assert readiness.reason() is None
    consumer.assigned = False  # a rebalance
    assert readiness.reason() is None
    stop.set()
    assert readiness.reason() == "stopping"
