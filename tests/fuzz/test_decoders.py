"""A short fuzz run, blind and guided, and the proof that it would find something."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from shared.contracts.rejections import RejectionReason
from shared.contracts.transactions import AcceptedTransaction, Door, decode_transaction
from tests.fuzz import decoders
from tests.fuzz.decoders import Violation, check
from tests.fuzz.payloads import Mutator, seeds

BLIND, GUIDED = 5_000, 1_500


def test_no_payload_gets_anything_but_one_clear_verdict() -> None:
    dice = random.Random(20260601)
    mutator, corpus, verdicts = Mutator(dice), seeds(), set()
    for _ in range(BLIND):
        raw = mutator.mutate(dice.choice(corpus))
        try:
            verdicts.add(check(raw))
        except Exception as error:
            raise AssertionError(f"{error!r} for {raw[:2000]!r}") from error
    # Which verdicts are reached tells whether the mutations are worth anything.
    beyond_one_body = {RejectionReason.TOMBSTONE.value, RejectionReason.KEY.value, RejectionReason.CONFLICT.value}
    assert verdicts >= {reason.value for reason in RejectionReason} - beyond_one_body | {"accepted"}


@pytest.mark.skipif(sys.platform != "linux", reason="atheris is made for Linux")
def test_guided_by_coverage_nothing_is_found_either(tmp_path: Path) -> None:
    corpus, verdicts = tmp_path / "corpus", tmp_path / "verdicts.json"
    corpus.mkdir()
    for number, seed in enumerate(seeds()):
        (corpus / str(number)).write_bytes(seed)
    command = [
        sys.executable,
        "-m",
        "tests.fuzz.guided",
        str(verdicts),
        f"-runs={GUIDED}",
        "-seed=1",
        "-max_len=4096",
        f"-artifact_prefix={tmp_path}/",
        str(corpus),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=250, cwd=Path.cwd())
    assert done.returncode == 0, done.stderr[-4000:]
    assert sum(json.loads(verdicts.read_text()).values()) >= GUIDED


@pytest.mark.parametrize(
    ("name", "broken"),
    [
        ("decode_transaction", lambda raw, **_: {}[raw]),
        ("decode", lambda *_, **__: 1 / 0),
    ],
)
def test_a_decoder_that_falls_over_is_found(name: str, broken: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoders, name, broken)
    with pytest.raises((KeyError, ZeroDivisionError)):
        check(seeds()[0])


def test_doors_that_differ_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def lax_over_rest(raw: bytes, *, door: Door, **options: Any) -> AcceptedTransaction:
        return decode_transaction(raw if door is Door.TOPIC else raw.strip(b"x"), door=door, **options)

    monkeypatch.setattr(decoders, "decode_transaction", lax_over_rest)
    with pytest.raises(Violation, match="one door says"):
        check(seeds()[0] + b"x")
