"""`make trace`: two purchases followed to the warehouse's rows by one trace id each, printed as trees with every hop's
duration: one from the source's line, one from the checkout's call.

`--page` puts the trees into a page of documentation in place of those that it has.
"""

from __future__ import annotations

import argparse
import asyncio
import re
import secrets
import tempfile
import time
from pathlib import Path

import httpx

from shared.model_artifact.registry import ModelRegistry
from tests.e2e.system import System, until
from tests.factories import SECOND_US, transaction
from tests.otlp_receiver import OtlpReceiver
from tests.traces.hops import FROM_A_LINE, FROM_THE_CHECKOUT, hops, row_of, whole
from tests.traces.tree import tree
from tests.unit.scorer.parts import register

SERVICES = ("simulator", "features", "scorer", "sink", "ingestor")
RATE = 10
WARM = 50
"""Traces before the one that is shown: the first ones make connections and fill caches."""
PATIENCE_S = 600.0
BLOCK = re.compile(r"(<!-- (line|checkout) -->\n```text\n).*?(\n```)", re.DOTALL)


def main() -> None:
    parser = argparse.ArgumentParser(prog="make trace", description=__doc__)
    parser.add_argument("--page", type=Path, help="a page whose trees are to be replaced")
    arguments = parser.parse_args()
    with OtlpReceiver() as receiver, tempfile.TemporaryDirectory(prefix="trace-") as folder:
        registry = ModelRegistry(f"{folder}/models")
        registry.promote(register(registry), "trace")
        settings = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.address,
            "OTEL_BSP_SCHEDULE_DELAY": "200",
            "INGESTOR__RATE": str(RATE),
        }
        with System(Path(folder), SERVICES, settings) as system:
            trees = asyncio.run(_followed(system, receiver))
    for text in trees.values():
        print(text, end="\n\n")
    if arguments.page is not None:
        old = arguments.page.read_text()
        arguments.page.write_text(BLOCK.sub(lambda found: f"{found[1]}{trees[found[2]]}{found[3]}", old))


async def _followed(system: System, receiver: OtlpReceiver) -> dict[str, str]:
    async def warm() -> bool:
        return len(whole(receiver, FROM_A_LINE)) > WARM

    await until(warm, f"{WARM} traces with every hop", PATIENCE_S)
    line = whole(receiver, FROM_A_LINE)[-1]
    asked = ""
    async with httpx.AsyncClient(base_url=system.http, timeout=60) as client:
        for number in range(WARM):
            asked = secrets.token_hex(16)
            body = transaction(number, t_us=int(time.time() * SECOND_US), event_id=asked, customer_id=f"asked-{number}")
            headers = {"traceparent": f"00-{asked}-{secrets.token_hex(8)}-01"}
            (await client.post("/v1/decisions", json=body, headers=headers)).raise_for_status()

    async def written() -> bool:
        return hops(receiver.trace(asked)).keys() >= FROM_THE_CHECKOUT.keys()

    await until(written, "every hop of the checkout's purchase", PATIENCE_S)
    return {name: _tree(trace_id, system, receiver) for name, trace_id in (("line", line), ("checkout", asked))}


def _tree(trace_id: str, system: System, receiver: OtlpReceiver) -> str:
    """With the row that its last hop wrote, read from the warehouse. Raises AssertionError if it is another event's."""
    spans = receiver.trace(trace_id)
    span, event_id = row_of(spans, system.stack.bigquery.settings)
    assert event_id == trace_id, f"the row is of {event_id}, the trace of {trace_id}"
    total_ms = (span.ended_ns - spans[0].started_ns) / 1e6
    return f"trace {trace_id}\n" + tree(spans, {span.span_id: f"row after {total_ms:.0f} ms"})


if __name__ == "__main__":
    main()
