"""What the README tells producers, consumers and a checkout to do, done as it is written there."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.system import System

README = Path(__file__).parents[2] / "README.md"


def snippets(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README.read_text(), re.DOTALL)


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


def test_every_link_of_the_readme_leads_somewhere() -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", README.read_text()):
        assert (README.parent / target).exists(), target
