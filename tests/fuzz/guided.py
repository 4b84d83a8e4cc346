"""`python -m tests.fuzz.guided VERDICTS -runs=N …`: the decoders under atheris, which looks for what reaches new code.

A process of its own: libFuzzer ends it. Flags are libFuzzer's. What every payload came to is counted into VERDICTS.
"""

from __future__ import annotations

import json
import random
import sys
from collections import Counter
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["shared.contracts", "shared.feature_definitions", "services.ingestor"]):
    from tests.fuzz.decoders import check
    from tests.fuzz.payloads import Mutator

BY_STRUCTURE = 0.7
"""Of the changes; the others are libFuzzer's own, which know nothing of JSON."""
WRITE_EVERY = 10_000


def main() -> None:
    verdicts: Counter[str] = Counter()
    out = Path(sys.argv[1])
    runs = next((int(flag.partition("=")[2]) for flag in sys.argv if flag.startswith("-runs=")), 0)

    def one(data: bytes) -> None:
        verdicts[check(data)] += 1
        count = verdicts.total()
        if count % WRITE_EVERY == 0 or count == runs:
            out.write_text(json.dumps(verdicts))

    def mutate(data: bytes, max_size: int, seed: int) -> bytes:
        dice = random.Random(seed)
        if dice.random() < BY_STRUCTURE:
            return Mutator(dice).mutate(data)[:max_size]
        return bytes(atheris.Mutate(data, max_size))

    atheris.Setup([sys.argv[0], *sys.argv[2:]], one, custom_mutator=mutate)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
