from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import sys
from collections import Counter
from collections.abc import AsyncIterator

import httpx
import pytest

from tests.integration.ingestor.conftest import WAIT_SECONDS, Rig, until

pytestmark = pytest.mark.integration


@contextlib.asynccontextmanager
async def simulator() -> AsyncIterator[str]:
    """The bundled simulator as a process; its address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = {
        **os.environ, "SIMULATOR__PORT": str(port), "METRICS__PORT": "0", "SIMULATOR__HISTORY_DAY_PAUSE_SECONDS": "0",
    }  # fmt: skip
    process = await asyncio.create_subprocess_exec(sys.executable, "-m", "services.simulator", env=environment)
    url = f"http://127.0.0.1:{port}"
    try:
        async with httpx.AsyncClient() as client:

            async def it_answers() -> bool:
                with contextlib.suppress(httpx.TransportError):
                    return (await client.get(f"{url}/generators")).is_success
                return False

            await until(it_answers)
        yield url
    finally:
        process.terminate()
        await process.wait()


@pytest.mark.parametrize("generator", ["bnpl", "bnpl_history"])
async def test_what_the_simulator_streams_is_ingested_without_a_refusal(rig: Rig, generator: str) -> None:
    earlier = {value["source"] for value in await rig.transactions("simtom/")}
    async with simulator() as url:
        days = ["--start", "2026-06-01", "--end", "2026-06-03", "--daily", "60", "--seed", str(rig.seed)]
        async with rig.ingestor(url, "history", *days, "--generator", generator) as process:
            async with asyncio.timeout(WAIT_SECONDS):
                assert await process.wait() == 0
        live = ["live", "--rate", "200", "--max-events", "40", "--generator", generator]
        async with rig.ingestor(url, *live) as process, asyncio.timeout(WAIT_SECONDS):
            assert await process.wait() == 0
    past = f"simtom/{generator}/2026-06-01.{rig.seed}"
    by_day = Counter(value["occurred_at"][:10] for value in await rig.transactions(past))
    assert sorted(by_day) == ["2026-06-01", "2026-06-02", "2026-06-03"]
    assert (await rig.cursor(past))["acknowledged"] == str(by_day.total())
    by_source = Counter(value["source"] for value in await rig.transactions("simtom/"))
    assert {by_source[source] for source in by_source.keys() - earlier - {past}} == {40}
    assert not any([await rig.letters(source) for source in by_source.keys() - earlier])
