"""`make fuzz`: payloads that no sane producer sends, at the decoders, on the topics and over REST of a running system.

Leaves out/fuzz.json; exit status 0 where nothing fell over, every answer was a stated one, and the ledger balances.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import Progress

from deploy.local.result import Result
from tests.fuzz.decoders import check
from tests.fuzz.payloads import Mutator, seeds
from tests.fuzz.system import fuzz_system

OUT = Result(Path("out/fuzz.json"))
CHUNK = 2_000
GUIDED_SHARE = 0.02
"""Of the runs: coverage costs an order of magnitude in speed."""


def main() -> None:
    parser = argparse.ArgumentParser(prog="make fuzz", description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--runs", type=int, default=1_000_000, help="payloads for the decoders")
    parser.add_argument("--records", type=int, default=50_000, help="payloads for the topics of a running system")
    parser.add_argument("--requests", type=int, default=50_000, help="payloads for its REST door")
    arguments = parser.parse_args()
    console = Console()
    OUT.begin()
    result: dict[str, Any] = {"seed": arguments.seed}
    began = time.monotonic()
    result["decoders"] = decoders(arguments.runs, arguments.seed)
    console.print(f"decoders: {_in_words(result['decoders'])} in {time.monotonic() - began:.0f} s")
    if sys.platform == "linux":
        result["guided"] = guided(int(arguments.runs * GUIDED_SHARE), arguments.seed)
        console.print(f"guided by coverage: {_in_words(result['guided'])}")
    if arguments.records or arguments.requests:
        result["system"] = asyncio.run(fuzz_system(arguments.seed, arguments.records, arguments.requests, console))
    result["passed"] = result.get("system", {}).get("passed", True)
    OUT.leave(result)
    console.print("passed" if result["passed"] else f"FAILED: see {OUT}")
    raise SystemExit(0 if result["passed"] else 1)


def decoders(runs: int, seed: int) -> dict[str, int]:
    """Payload by verdict. Raises AssertionError with the first payload for which something didn't hold."""
    verdicts: Counter[str] = Counter()
    with multiprocessing.Pool() as pool, Progress() as progress:
        task = progress.add_task("decoders", total=runs)
        for found in pool.imap_unordered(_blindly, _chunks(runs, seed)):
            verdicts.update(found)
            progress.update(task, completed=verdicts.total())
    return dict(verdicts.most_common())


def _chunks(runs: int, seed: int) -> Iterator[tuple[int, int]]:
    for start in range(0, runs, CHUNK):
        yield seed * 1_000_003 + start, min(CHUNK, runs - start)


def _blindly(chunk: tuple[int, int]) -> Counter[str]:
    seed, count = chunk
    dice = random.Random(seed)
    mutator, corpus, verdicts = Mutator(dice), seeds(), Counter[str]()
    for _ in range(count):
        raw = mutator.mutate(dice.choice(corpus))
        try:
            verdicts[check(raw)] += 1
        except Exception as error:
            raise AssertionError(f"{error!r} for {raw!r}") from error
    return verdicts


def guided(runs: int, seed: int) -> dict[str, int]:
    """The same under atheris. Raises AssertionError with what libFuzzer says."""
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        corpus, verdicts = Path(folder, "corpus"), Path(folder, "verdicts.json")
        corpus.mkdir()
        for number, one in enumerate(seeds()):
            (corpus / str(number)).write_bytes(one)
        flags = [f"-runs={runs}", f"-seed={seed}", "-max_len=4096", f"-artifact_prefix={folder}/"]
        command = [sys.executable, "-m", "tests.fuzz.guided", str(verdicts), *flags, str(corpus)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise AssertionError(done.stderr[-4000:])
        return dict(json.loads(verdicts.read_text()))


def _in_words(verdicts: dict[str, int]) -> str:
    return f"{sum(verdicts.values()):,} payloads, {verdicts.get('accepted', 0):,} accepted, {len(verdicts) - 1} reasons"


if __name__ == "__main__":
    main()
