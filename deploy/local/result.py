"""What a program that runs for long leaves in out/: whole, and never that of a run before."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


class Result:
    """A file of JSON."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def begin(self) -> None:
        """Forget what an earlier run has left: one that ends early must not pass for it."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.path.unlink(missing_ok=True)

    def leave(self, found: Any) -> None:
        """In place of what this run has left so far."""
        aside = self.path.with_suffix(".part")
        aside.write_text(json.dumps(found, indent=2) + "\n")
        aside.replace(self.path)

    def __str__(self) -> str:
        return str(self.path)
