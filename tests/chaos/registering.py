"""What the trainer does at its end, as a process that can be killed or run out of disk: register a model, promote it.

`python -m tests.chaos.registering REGISTRY SIGNING_KEY INTERCEPT [BYTES]`. BYTES: no file may grow beyond so many.
"""

from __future__ import annotations

import resource
import sys
from pathlib import Path

from shared.model_artifact.registry import ModelRegistry
from shared.model_artifact.signing import ManifestSigner
from tests.unit.scorer.parts import register


def main() -> None:
    registry = ModelRegistry(sys.argv[1], signer=ManifestSigner.from_file(Path(sys.argv[2])))
    if len(sys.argv) > 4:
        most = int(sys.argv[4])
        resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
    before = registry.current()
    registry.promote(register(registry, intercept=float(sys.argv[3])), "chaos", expected=before)


if __name__ == "__main__":
    main()
