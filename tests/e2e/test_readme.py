"""What the README tells producers, consumers and a checkout to do, done as it is written there."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.system import System

ROOT = Path(__file__).parents[2]
README, REST = ROOT / "README.md", ROOT / "docs" / "reference" / "rest.md"
CLIENT = ROOT / "clients" / "python"


def snippets(language: str, page: Path = README) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", page.read_text(), re.DOTALL)


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    with System(tmp_path_factory.mktemp("readme"), ("features", "scorer")) as running:
        yield running


def test_a_published_purchase_is_read_back_as_a_decision(system: System) -> None:
    publish, read = snippets("python")
    for snippet in (publish, read):
        done = subprocess.run(
            [sys.executable, "-c", snippet],
            env=system.environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
    assert done.stdout.startswith("anna-42 ")


def test_the_checkout_s_call_answers_with_a_decision(system: System) -> None:
    (call,) = snippets("bash")
    environment = {**system.environment, "FLIT_SCORER": system.http}
    done = subprocess.run(["bash", "-c", call], env=environment, capture_output=True, text=True, timeout=60, check=True)
    assert json.loads(done.stdout)["decision"] in {"approve", "review", "decline"}


def test_every_call_of_the_rest_page_is_answered(system: System) -> None:
    environment = {**system.environment, "FLIT_SCORER": system.http}
    for calls in snippets("bash", REST):
        for call in re.split(r"\n(?=curl )", calls):
            done = subprocess.run(
                ["bash", "-c", call], env=environment, capture_output=True, text=True, timeout=60, check=True
            )
            answer = json.loads(done.stdout)
            assert answer, call
    decision = json.loads(_curl(f"{system.http}/v1/decisions/order-4711", environment))
    assert decision["event_id"] == "order-4711"


def _curl(url: str, environment: dict[str, str]) -> str:
    return subprocess.run(["curl", "--silent", url], env=environment, capture_output=True, text=True, check=True).stdout


def test_the_client_does_what_the_rest_page_shows(system: System) -> None:
    (snippet,) = snippets("python", REST)
    path = os.pathsep.join([str(CLIENT), system.environment.get("PYTHONPATH", "")])
    environment = {**system.environment, "FLIT_SCORER": system.http, "PYTHONPATH": path}
    done = subprocess.run(
        [sys.executable, "-c", snippet], env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[0] in {"approve", "review", "decline"}


def test_every_link_of_the_readme_leads_somewhere() -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", README.read_text()):
        assert (README.parent / target).exists(), target
