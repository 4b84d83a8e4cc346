"""What the source may send in place of an event, among good ones: a letter for each, and nothing else is disturbed."""

from __future__ import annotations

import asyncio
import base64

import pytest

from tests.bad_inputs.doors import LINES
from tests.integration.ingestor.conftest import Rig
from tests.integration.ingestor.recorded_source import RecordedSource, Script
from tests.integration.ingestor.test_live import LIVE, events_of

pytestmark = pytest.mark.integration

GOOD_BEFORE_EACH = 3
"""More good ones than bad ones: of a source that sends little else the service lets go."""
GOOD_AFTER_ALL = 2


async def test_every_bad_line_gets_its_letter_and_every_good_one_its_record(rig: Rig, unique: str) -> None:
    assert [line.cut for line in LINES] == [False] * (len(LINES) - 1) + [True], (
        "the connection can be cut once, at last"
    )
    good = events_of(unique, GOOD_BEFORE_EACH * len(LINES) + GOOD_AFTER_ALL)
    first: list[bytes] = []
    for number, line in enumerate(LINES):
        first += [*good[GOOD_BEFORE_EACH * number : GOOD_BEFORE_EACH * (number + 1)], line.sent]
    scripts = [Script(first, cut=True), Script(good[-GOOD_AFTER_ALL:])]
    lines = len(good) + len(LINES) - 1  # the service counts whole lines, whatever stands in them
    arguments = ("live", "--max-events", str(lines))
    async with RecordedSource(scripts) as source, rig.ingestor(source.url, *arguments) as process:
        async with asyncio.timeout(60):
            assert await process.wait() == 0
    found = [value for value in await rig.transactions(LIVE) if value["transaction_id"].startswith(unique)]
    assert sorted(value["transaction_id"] for value in found) == sorted(f"{unique}-{n}" for n in range(len(good)))
    first_run = min(value["source"] for value in found)
    letters = sorted(await rig.letters(first_run), key=lambda letter: letter["offset"])
    assert [letter["reason"] for letter in letters] == [line.reason.value for line in LINES]
    for place, (letter, line) in enumerate(zip(letters, LINES, strict=True), 1):
        raw = line.sent.removesuffix(b"\n\n")
        assert letter["offset"] == place * (GOOD_BEFORE_EACH + 1) - 1, line
        assert letter["value_bytes"] == len(raw), line
        assert base64.b64decode(letter["value_base64"]) == raw[:65_536], line
