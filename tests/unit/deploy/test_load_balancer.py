"""Google's load balancer in front of the REST door, beside what its documentation says and what the code does."""

from __future__ import annotations

import json

import jsonschema
import pytest

from services.scorer.settings import ScorerSection
from tests.deployment import LOAD_BALANCER, PROD, kustomize
from tests.unit.deploy.test_components import NUMBER, TEXT, closed, only
from tests.unit.deploy.test_manifests import VERSIONS, validate

IDLE_S = 600
"""For which it keeps an idle connection to a backend, by Google's documentation; nobody can set it."""


def test_googles_load_balancer_asks_for_health_where_it_sends_checkouts() -> None:
    objects = kustomize(PROD, LOAD_BALANCER)
    schema = closed(
        healthCheck=closed(
            type={"const": "HTTP"}, requestPath=TEXT, port=NUMBER, checkIntervalSec=NUMBER, timeoutSec=NUMBER,
            healthyThreshold=NUMBER, unhealthyThreshold=NUMBER,
        ),
        timeoutSec=NUMBER,
        connectionDraining=closed(drainingTimeoutSec=NUMBER),
    )  # fmt: skip
    ((name, config),) = only("BackendConfig", objects).items()
    jsonschema.validate(config["spec"], schema)
    service = only("Service", objects)["scorer"]
    of_port = json.loads(service["metadata"]["annotations"]["cloud.google.com/backend-config"])["ports"]
    assert of_port == {"http": name}
    (port,) = (each["port"] for each in service["spec"]["ports"] if each["name"] == "http")
    health = config["spec"]["healthCheck"]
    assert (health["port"], health["requestPath"]) == (port, "/ready")
    assert health["timeoutSec"] <= health["checkIntervalSec"]
    assert config["spec"]["timeoutSec"] * 1000 > ScorerSection().deadline_ms


@pytest.mark.parametrize("version", VERSIONS)
def test_behind_googles_load_balancer_a_pod_answers_until_nothing_is_sent_to_it_any_more(version: str) -> None:
    objects = kustomize(PROD, LOAD_BALANCER)
    deployment = only("Deployment", objects)["scorer"]
    validate(deployment, version)
    pod = deployment["spec"]["template"]["spec"]
    (scorer,) = pod["containers"]
    leaving_s = scorer["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert leaving_s > only("BackendConfig", objects)["scorer"]["spec"]["connectionDraining"]["drainingTimeoutSec"]
    # What the base says of it besides is still there, and each variable is said once.
    names = [each["name"] for each in scorer["env"]]
    assert len(names) == len(set(names)) and "SCORER__API_KEYS_FILE" in names
    keep_alive_s = next(float(each["value"]) for each in scorer["env"] if each["name"] == "SCORER__KEEP_ALIVE_SECONDS")
    assert keep_alive_s > IDLE_S
    drain_s = ScorerSection(
        drain_seconds=next(each["value"] for each in scorer["env"] if each["name"] == "SCORER__DRAIN_SECONDS")
    ).drain_seconds
    answer_s = only("BackendConfig", objects)["scorer"]["spec"]["timeoutSec"]
    assert pod["terminationGracePeriodSeconds"] >= leaving_s + drain_s + answer_s
