"""The compose file."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from deploy.local import services as local
from deploy.monitoring.alerts import AUDIT_HOURS
from tests.deployment import COMPOSE, DEPLOY, REPOSITORY, compose, compose_containers, ours
from tests.unit.deploy.test_container_settings import fields, settings_of

SCHEMA = json.loads((REPOSITORY / "tests/data/compose/compose-spec.json").read_text())
SERVICES: dict[str, dict[str, Any]] = compose()["services"]
LASTING = {"ingestor", "features", "scorer", "sink", "simulator", "console", "trainer"}
FULL = {"prometheus", "grafana", "console", "mlflow"}
BY_HAND = {"ledger"}

CONFIGS = ("prometheus.yml", "compose/scaled.yml")


def test_the_file_keeps_to_the_compose_specification() -> None:
    jsonschema.Draft202012Validator(SCHEMA).validate(compose())


def test_a_key_that_compose_does_not_know_is_refused() -> None:
    document = compose()
    document["services"]["scorer"]["restarts"] = "always"
    with pytest.raises(jsonschema.ValidationError, match="restarts"):
        jsonschema.Draft202012Validator(SCHEMA).validate(document)


def test_every_service_of_the_system_is_in_it() -> None:
    assert {one.ours for one in compose_containers() if one.ours} == LASTING | BY_HAND | {"bigquery-emulator"}


def test_the_core_needs_no_profile_and_nothing_of_the_full_one() -> None:
    assert {name for name, service in SERVICES.items() if service.get("profiles") == ["full"]} == FULL
    assert {name for name, service in SERVICES.items() if service.get("profiles") == ["audit"]} == BY_HAND
    assert not any(service.get("profiles") for name, service in SERVICES.items() if name not in FULL | BY_HAND)
    assert compose(DEPLOY / "airflow/docker-compose.yml")["services"]["airflow"]["profiles"] == ["airflow", "full"]
    for name, service in SERVICES.items():
        assert name in FULL or not FULL & set(service.get("depends_on", ())), name


def test_a_key_that_stands_twice_is_refused(tmp_path: Path) -> None:
    (tmp_path / "twice.yml").write_text("services: {one: {image: a, deploy: {}, deploy: {}}}")
    with pytest.raises(yaml.constructor.ConstructorError, match="twice"):
        compose(tmp_path / "twice.yml")


def test_each_image_is_built_for_the_service_that_it_is_named_after() -> None:
    for one in compose_containers():
        if one.ours is not None:
            build = one.definition["build"]
            assert (DEPLOY / build["context"] / build["dockerfile"]).resolve() == DEPLOY / "Dockerfile"
            built = build.get("args", {}).get("SERVICE", build["target"])
            assert built == one.ours


def test_who_is_waited_for_can_be_waited_for() -> None:
    for name, service in SERVICES.items():
        for other, wish in service.get("depends_on", {}).items():
            checked = not SERVICES[other]["healthcheck"].get("disable")
            once = "restart" in SERVICES[other] and SERVICES[other]["restart"].startswith("on-failure")
            assert (wish["condition"] == "service_healthy" and checked) or (
                wish["condition"] == "service_completed_successfully" and once
            ), f"{name} waits for {other}"


def test_whoever_reads_topics_or_warehouse_waits_until_they_are_made() -> None:
    for one in compose_containers():
        if one.name in LASTING | BY_HAND:
            waits = set(one.definition.get("depends_on", ()))
            assert ("create-topics" in waits) == ("KAFKA__BOOTSTRAP_SERVERS" in one.environment), one.name
            assert ("create-warehouse" in waits) == ("BIGQUERY__PROJECT" in one.environment), one.name


def test_prometheus_and_grafana_find_what_they_are_given() -> None:
    prometheus, grafana = SERVICES["prometheus"], SERVICES["grafana"]
    given = {volume.split(":")[1] for volume in prometheus["volumes"]}
    assert "--config.file=/etc/prometheus/prometheus.yml" in prometheus["command"]
    config = yaml.safe_load((DEPLOY / "monitoring/prometheus.yml").read_text())
    assert {f"/etc/prometheus/{file.split('/')[0]}" for file in config["rule_files"]} <= given
    assert "/etc/prometheus/targets/compose.yml" in given
    assert config["scrape_configs"][0]["file_sd_configs"][0]["files"] == ["targets/*.yml"]
    provisioning = DEPLOY / "monitoring/grafana/provisioning"
    source = yaml.safe_load((provisioning / "datasources/prometheus.yml").read_text())["datasources"][0]
    assert source["url"] == "http://prometheus:9090"
    boards = yaml.safe_load((provisioning / "dashboards/flit.yml").read_text())["providers"][0]["options"]["path"]
    assert boards in {volume.split(":")[1] for volume in grafana["volumes"]}


def test_nothing_is_published_beyond_this_machine() -> None:
    published = [port for service in SERVICES.values() for port in service.get("ports", ())]
    assert published
    assert all(port.startswith("127.0.0.1:") for port in published)


def test_published_ports_are_those_of_the_embedded_stack() -> None:
    from deploy.local.stack import DEFAULT_PORTS
    from deploy.local.supervisor import SERVICES as SUPERVISED

    assert SERVICES["kafka"]["ports"] == [f"127.0.0.1:{DEFAULT_PORTS.kafka}:19092"]
    assert SERVICES["valkey"]["ports"] == [f"127.0.0.1:{DEFAULT_PORTS.valkey}:6379"]
    assert SERVICES["bigquery"]["ports"] == [
        f"127.0.0.1:{DEFAULT_PORTS.bigquery_rest}:9050",
        f"127.0.0.1:{DEFAULT_PORTS.bigquery_grpc}:9060",
    ]
    supervised: tuple[local.Service, ...] = SUPERVISED
    assert {service.name for service in supervised} == LASTING
    for service in supervised:
        assert f"127.0.0.1:{service.metrics_port}:9100" in SERVICES[service.name]["ports"]


def test_names_of_hosts_in_addresses_are_services_and_their_ports_exist() -> None:
    addresses = {
        "KAFKA__BOOTSTRAP_SERVERS": "kafka:9092",
        "REDIS__URL": "redis://valkey:6379/0",
        "BIGQUERY__REST_ENDPOINT": "http://bigquery:9050",
        "BIGQUERY__GRPC_ENDPOINT": "bigquery:9060",
        "SIMTOM__URL": "http://simulator:18000",
    }
    for one in compose_containers():
        for name, value in one.environment.items():
            if name in addresses and one.ours:
                assert value == addresses[name], one.where
    listeners = SERVICES["kafka"]["environment"]
    assert "INSIDE://kafka:9092" in listeners["KAFKA_ADVERTISED_LISTENERS"]
    assert "INSIDE://:9092" in listeners["KAFKA_LISTENERS"]
    assert SERVICES["bigquery"]["command"][1:3] == ["9050", "9060"]
    assert SERVICES["simulator"]["environment"]["SIMULATOR__PORT"] == "18000"


def test_containers_are_limited_and_come_back() -> None:
    for name, service in SERVICES.items():
        limits = service["deploy"]["resources"]["limits"]
        # Compose refuses a `pids_limit` beside these limits, unless it stands among them as well.
        assert {"cpus", "memory", "pids"} == set(limits) and "pids_limit" not in service, name
        assert service["cap_drop"] == ["ALL"] and service["security_opt"] == ["no-new-privileges:true"], name
        # Kafka's start script writes its configuration beside itself.
        assert service.get("read_only") is True or name == "kafka", name
        assert 0 < limits["pids"] <= 512, name
        # Without a size, what is written there may take half of the machine's memory.
        assert name == "kafka" or all(":size=" in one for one in service["tmpfs"]), name
        expected = "on-failure:5" if name.startswith("create-") else "unless-stopped"
        assert service["restart"] == ("no" if name in BY_HAND else expected), name


def test_repeated_audits_leave_room_for_a_long_one_before_their_silence_is_told() -> None:
    (every,) = re.findall(r"ledger --every (\d+)", COMPOSE.read_text())
    assert 2 * int(every) <= AUDIT_HOURS * 3600


def test_mounted_volumes_are_declared_and_all_used() -> None:
    mounted = {volume.split(":")[0] for service in SERVICES.values() for volume in service.get("volumes", ())}
    files = {source for source in mounted if source.startswith("./")}
    assert mounted - files == set(compose()["volumes"])
    assert all((DEPLOY / file).exists() for file in files)


def test_secrets_are_files_that_exist_and_no_variable_holds_one() -> None:
    given = compose()["secrets"]
    assert all((DEPLOY / secret["file"]).is_file() for secret in given.values())
    named = {
        one["source"] if isinstance(one, dict) else one
        for service in SERVICES.values()
        for one in service.get("secrets", ())
    }
    assert named == set(given)
    for one in ours(compose_containers()):
        secret = {name for name, field in fields(settings_of(one)).items() if "SecretStr" in str(field.annotation)}
        assert not secret & set(one.environment), one.name
        mounted = {each for each in one.own_variables if each in secret}
        assert not mounted or one.environment["SECRETS_DIR"] == "/run/secrets", one.name


def test_who_is_scaled_publishes_ranges_that_nobody_else_has_and_is_found_by_name() -> None:
    scaled = compose(DEPLOY / "scale.yml")["services"]
    taken = [port for name, service in SERVICES.items() if name not in scaled for port in service.get("ports", ())]
    ports: list[int] = [int(port.split(":")[1]) for port in taken]
    for name, service in scaled.items():
        for published in service.get("ports", ()):
            address, outside, inside = published.split(":")
            first, last = map(int, outside.split("-"))
            assert address == "127.0.0.1" and last - first == 9, published
            assert any(port.endswith(f":{inside}") for port in SERVICES[name]["ports"]), published
            ports += range(first, last + 1)
        assert "container_name" not in SERVICES[name]
    assert len(ports) == len(set(ports))
    plain, config = (yaml.safe_load((DEPLOY / "monitoring" / file).read_text()) for file in CONFIGS)
    assert {key: plain[key] for key in ("global", "rule_files")} == {
        key: config[key] for key in ("global", "rule_files")
    }
    (found,) = config["scrape_configs"][0]["dns_sd_configs"]
    targets = yaml.safe_load((DEPLOY / "monitoring/compose/targets.yml").read_text())
    assert {f"{name}:{found['port']}" for name in found["names"]} == {
        one for each in targets for one in each["targets"]
    }
    assert "./monitoring/compose/scaled.yml:/etc/prometheus/prometheus.yml:ro" in scaled["prometheus"]["volumes"]


def test_what_pins_the_images_is_written_for_each_foreign_one_beside_what_is_there(tmp_path: Path) -> None:
    deploy = tmp_path / "deploy"
    deploy.mkdir()
    for name in ("pin-digests.sh", "docker-compose.yml"):
        shutil.copy(DEPLOY / name, deploy)
    (deploy / ".env").write_text("RATE=3\nKAFKA_DIGEST=@sha256:old\n")
    docker = tmp_path / "docker"
    docker.write_text('#!/bin/sh\ncase "$4" in *:*) echo sha256:"$(printf %s "$4" | tr -dc a-z)";; esac\n')
    docker.chmod(0o755)
    environment = {"PATH": f"{tmp_path}:/usr/bin:/bin"}
    for _ in range(2):
        subprocess.run([deploy / "pin-digests.sh"], env=environment, capture_output=True, check=True)
    rate, *printed = (deploy / ".env").read_text().splitlines()
    assert rate == "RATE=3"
    foreign = {service["image"].split("/")[0] for service in SERVICES.values() if "build" not in service}
    pins = dict(line.split("=", 1) for line in printed)
    assert len(pins) == len(printed) == len(foreign)
    for name, digest in pins.items():
        assert f"${{{name}:-}}" in COMPOSE.read_text() and digest.startswith("@sha256:")
    docker.write_text("#!/bin/sh\necho 'not found' >&2; exit 1\n")
    failed = subprocess.run([deploy / "pin-digests.sh"], env=environment, capture_output=True, check=False)
    assert failed.returncode != 0
    assert (deploy / ".env").read_text().splitlines() == [rate, *printed]
