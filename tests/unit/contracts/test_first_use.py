"""The first use of an event's type in several threads at once: the sink decodes in threads from its first batch on."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from shared.contracts.examples import examples_of

THREADS = 16
FIRST_USE = f"""
import json, sys, threading
import msgspec
from shared.contracts import events

body, kind = json.load(sys.stdin), getattr(events, sys.argv[1])
sys.setswitchinterval(1e-6)
start, converted = threading.Barrier({THREADS}), []

def convert():
    start.wait()
    converted.append(msgspec.convert(body, kind))

threads = [threading.Thread(target=convert) for _ in range({THREADS})]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print(len(converted))
"""
"""Crashes two times in three where the type wasn't worked out before, so several processes try."""

PROCESSES = 4


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("transaction", "Transaction"),
        ("outcome", "Outcome"),
        ("feature-vector", "FeatureVector"),
        ("decision", "Decision"),
        ("decision-update", "DecisionUpdate"),
        ("dead-letter", "DeadLetter"),
    ],
)
def test_types_are_ready_for_many_threads_at_once(name: str, kind: str) -> None:
    body = json.dumps(examples_of(name)[0])
    for _ in range(PROCESSES):
        ran = subprocess.run(
            [sys.executable, "-c", FIRST_USE, kind], input=body, capture_output=True, text=True, check=False
        )
        assert (ran.returncode, ran.stdout) == (0, f"{THREADS}\n"), ran.stderr
