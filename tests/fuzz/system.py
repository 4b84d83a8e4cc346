"""Fuzzed records and requests into a running system, with the ledger at the end."""

from __future__ import annotations

import asyncio
import json
import random
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import httpx
from rich.console import Console
from rich.progress import Progress

from shared.contracts.identity import partition_of
from shared.contracts.topics import OUTCOMES, TRANSACTIONS
from shared.kafka.producer import OutgoingRecord, ReliableProducer
from tests.chaos.world import SERVICES, World
from tests.fuzz.payloads import Mutator, fresh_outcome, fresh_purchase

SETTINGS = {
    # What is sent is nothing but refusals: no producer to be protected from.
    "FEATURES__REFUSALS_PER_MINUTE": "0",
    "SCORER__REFUSALS_PER_MINUTE": "0",
    "SCORER__RATE_PER_SECOND": "1000000",
    "SCORER__RATE_BURST": "1000000",
}
BATCH = 1_000
CLIENTS = 8
EXAMPLES = 200
CHECKS = ("status_code_conformance", "content_type_conformance", "response_schema_conformance")
"""The document names no 500, so one doesn't conform. It does name 503: for a deadline of a millisecond, say."""
STATED = frozenset({200, 400, 404, 405, 409, 413, 415, 422})
TROUBLE = re.compile(
    r"Traceback|request_failed|stopped_by_error|gave_up|Exception in|never retrieved|Segmentation fault"
)
"""What no log may hold after it."""


async def fuzz_system(seed: int, records: int, requests: int, console: Console) -> dict[str, Any]:
    """Counts of what was sent and answered, what went wrong, and the ledger's verdict."""
    dice = random.Random(seed)
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder, World(Path(folder), seed, SETTINGS) as world:
        await world.works()
        pids = {name: world.process(name).pid for name in SERVICES}
        with Progress(console=console) as progress:
            sent = await _records(world, dice, records, progress)
            answers = await _requests(world, dice, requests, progress)
        outcome = await asyncio.to_thread(_by_schema, world.system.http, seed) if requests else ""
        await world.works()
        report = await asyncio.to_thread(world.system.ledger, quiet=True)
        trouble = await asyncio.to_thread(_trouble, Path(folder, "logs"))
        restarted = [name for name in SERVICES if world.process(name).pid != pids[name]]
    invariants = {name: each["balanced"] for name, each in report["invariants"].items()}
    unstated = {status: count for status, count in answers.items() if int(status) not in STATED}
    passed = not (trouble or restarted or unstated or outcome) and report["balanced"]
    return {
        "records": dict(sent),
        "answers": dict(answers),
        "unstated_answers": unstated,
        "by_schema": outcome or "passed",
        "trouble_in_logs": trouble[:20],
        "restarted": restarted,
        "invariants": invariants,
        "imbalance": [each["examples"][:5] for each in report["invariants"].values() if not each["balanced"]],
        "passed": passed,
    }


def _trouble(logs: Path) -> list[str]:
    return [
        f"{log.stem}: {line[:300]}"
        for log in sorted(logs.glob("*.log"))
        for line in log.read_text(errors="replace").splitlines()
        if TROUBLE.search(line)
    ]


async def _records(world: World, dice: random.Random, count: int, progress: Progress) -> Counter[str]:
    """Onto both topics; mostly under the right key, as what a broken producer sends is."""
    task = progress.add_task("records", total=count)
    producer, mutator, sent = ReliableProducer(world.system.kafka), Mutator(dice), Counter[str]()
    partitions = world.system.kafka.partitions
    await producer.start()
    try:
        for start in range(0, count, BATCH):
            batch = []
            for number in range(start, min(start + BATCH, count)):
                now_us = int(time.time() * 1_000_000)
                is_purchase = dice.random() < 0.8
                topic = TRANSACTIONS.name if is_purchase else OUTCOMES.name
                customer, body = (fresh_purchase if is_purchase else fresh_outcome)(number, now_us)
                value = None if dice.random() < 0.01 else body if dice.random() < 0.1 else mutator.mutate(body)
                key = customer.encode() if dice.random() < 0.97 else dice.choice((b"", b"\xff", None, b"someone else"))
                headers: list[Any] = [("schema_version", dice.choice((b"1", b"1", b"1", b"99", b"", None)))]
                place = partition_of(key or b"", partitions) if dice.random() < 0.98 else dice.randrange(partitions)
                batch.append(OutgoingRecord(topic, key, value, headers if dice.random() < 0.2 else [], place))
                sent[topic] += 1
            await producer.send_all(batch)
            progress.update(task, advance=len(batch))
    finally:
        await producer.stop()
    return sent


async def _requests(world: World, dice: random.Random, count: int, progress: Progress) -> Counter[str]:
    """Status → how many. A refusal that is no problem+json counts as status 0."""
    task = progress.add_task("requests", total=count)
    mutator, answers = Mutator(dice), Counter[str]()
    numbers = iter(range(count))

    async def client() -> None:
        async with httpx.AsyncClient(base_url=world.system.http, timeout=60) as http:
            for number in numbers:
                _, body = fresh_purchase(number, int(time.time() * 1_000_000), "fuzz-rest")
                raw = body if dice.random() < 0.1 else mutator.mutate(body)
                headers = {"Content-Type": "application/json"} | dice.choice(ODD_HEADERS)
                answer = await http.post("/v1/decisions", content=raw, headers=headers)
                answers[str(answer.status_code if _is_stated(answer) else 0)] += 1
                progress.update(task, advance=1)

    await asyncio.gather(*(client() for _ in range(CLIENTS)))
    return answers


ODD_HEADERS: tuple[dict[str, str], ...] = (
    *({},) * 12,
    {"Schema-Version": "1"},
    {"Schema-Version": "99"},
    {"Content-Encoding": "gzip"},
    {"Content-Type": "text/xml"},
    {"Traceparent": "00-zz"},
    {"Idempotency-Key": "x" * 300},
    {"Idempotency-Key": "the same for all"},
)


def _is_stated(answer: httpx.Response) -> bool:
    try:
        body = answer.json()
    except json.JSONDecodeError:
        return False
    if answer.status_code == httpx.codes.OK:
        return "decision" in body
    return answer.headers["content-type"] == "application/problem+json" and bool(body["reason"])


def _by_schema(url: str, seed: int) -> str:
    """schemathesis over the OpenAPI document; what it says where something failed, otherwise nothing."""
    command = [
        *(str(Path(sys.executable).with_name("schemathesis")), "run", f"{url}/openapi.json"),
        *("--checks", ",".join(CHECKS)),
        *("--max-examples", str(EXAMPLES), "--seed", str(seed), "--no-color", "--phases", "examples,fuzzing"),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return "" if done.returncode == 0 else (done.stdout + done.stderr)[-6000:]
