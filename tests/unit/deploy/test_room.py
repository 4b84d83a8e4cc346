"""What is kept fits in where it is kept: memory and disk, beside the rates that containers are deployed with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import yaml

from deploy.capacity.demand import DAY_S, MEMORY_RESERVE
from deploy.capacity.figures import read
from services.ingestor.settings import IngestorSection
from services.scorer.settings import ScorerSection
from shared.contracts.topics import ALL, FEATURES
from tests.deployment import DEPLOY, DEV, PROD, Container, compose_containers, kubernetes_containers, size
from tests.unit.deploy.test_manifests import kinds

CLAIM_BYTES = 4_000
"""services/scorer/README.md."""


def memory(containers: Sequence[Container]) -> tuple[int, int]:
    """What Valkey takes before it refuses, and its container's limit."""
    valkey = next(one for one in containers if one.name == "valkey")
    arguments, resources = list(valkey.arguments), valkey.definition.get("resources", {})
    limits = (resources or valkey.definition["deploy"]["resources"])["limits"]
    return size(arguments[arguments.index("--maxmemory") + 1]), size(limits["memory"])


@pytest.mark.parametrize("source", [compose_containers, lambda: kubernetes_containers(DEV)], ids=["compose", "dev"])
def test_valkey_has_room_for_the_claims_and_refuses_before_the_kernel_kills_it(source: Any) -> None:
    most, limit = memory(source())
    assert most * MEMORY_RESERVE <= limit
    scorer, ingestor = (next(one for one in source() if one.name == name) for name in ("scorer", "ingestor"))
    rate = float(ingestor.environment.get("INGESTOR__RATE") or IngestorSection().rate)
    claims = rate * int(scorer.environment["SCORER__CLAIM_TTL_SECONDS"])
    assert claims * CLAIM_BYTES <= most
    (kafka,) = (one for one in source() if one.name == "kafka")
    # A vector that is read again after its claim would be decided anew: no place in the log is forgotten before it.
    assert int(kafka.environment["KAFKA_OFFSETS_RETENTION_MINUTES"]) * 60_000 > FEATURES.retention_ms


EMULATOR_BYTES = 4_200
"""Of the emulator's file, for the rows of a purchase and its outcome: on stacks of some ten thousand it was 3,400 to
4,200."""


def test_broker_and_warehouse_of_dev_have_room_for_a_month() -> None:
    containers = kubernetes_containers(DEV)
    rate = float(next(one for one in containers if one.name == "ingestor").environment["INGESTOR__RATE"])
    figures = read()
    assert figures is not None
    for name, purchase in (("kafka", sum(figures.record_bytes.values())), ("bigquery", EMULATOR_BYTES)):
        (claim,) = kinds(DEV, "StatefulSet")[name]["spec"]["volumeClaimTemplates"]
        assert 30 * DAY_S * rate * purchase * 1.25 <= size(claim["spec"]["resources"]["requests"]["storage"]), name


LEDGER_BYTES = 6_000
"""Of the ledger's memory, for a purchase on the log."""


@pytest.mark.parametrize("source", [compose_containers, lambda: kubernetes_containers(DEV)], ids=["compose", "dev"])
def test_the_ledger_has_memory_for_half_a_million_purchases(source: Any) -> None:
    (ledger,) = (one for one in source() if one.name == "ledger")
    resources = ledger.definition.get("resources") or ledger.definition["deploy"]["resources"]
    assert size(resources["limits"]["memory"]) >= 500_000 * LEDGER_BYTES * 1.25


def test_the_production_examples_have_room_for_its_own_rate() -> None:
    containers = kubernetes_containers(PROD)
    scorer, ingestor = (next(one for one in containers if one.name == name) for name in ("scorer", "ingestor"))
    rate, figures = float(ingestor.environment["INGESTOR__RATE"]), read()
    assert figures is not None
    claims = int(scorer.environment.get("SCORER__CLAIM_TTL_SECONDS") or ScorerSection().claim_ttl_seconds)
    (config,) = (
        one["data"]["redis-additional.conf"]
        for one in yaml.safe_load_all((DEPLOY / "k8s/examples/redis.yaml").read_text())
        if one["kind"] == "ConfigMap"
    )
    lines = dict(line.split(" ", 1) for line in config.splitlines())
    assert rate * claims * CLAIM_BYTES <= size(lines["maxmemory"])
    kept = sum(figures.record_bytes.get(topic.name, 0) * topic.retention_ms / 1000 for topic in ALL)
    (disk,) = (
        volume["size"]
        for one in yaml.safe_load_all((DEPLOY / "k8s/examples/strimzi.yaml").read_text())
        if one["kind"] == "KafkaNodePool"
        for volume in one["spec"]["storage"]["volumes"]
    )
    assert rate * kept * 1.25 <= size(disk)


def test_the_operators_redis_refuses_before_the_kernel_kills_it() -> None:
    objects = list(yaml.safe_load_all((DEPLOY / "k8s/examples/redis.yaml").read_text()))
    (server,) = (one for one in objects if one["kind"] == "Redis")
    (config,) = (one["data"]["redis-additional.conf"] for one in objects if one["kind"] == "ConfigMap")
    lines = dict(line.split(" ", 1) for line in config.splitlines())
    limit = server["spec"]["kubernetesConfig"]["resources"]["limits"]["memory"]
    assert size(lines["maxmemory"]) * MEMORY_RESERVE <= size(limit)
