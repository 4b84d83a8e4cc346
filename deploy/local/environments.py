"""Environments of programs whose pins and ours can't be met at once: each from a lock of its own, kept in `.cache`."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

from deploy.local.stack import CACHE_DIR


def environment_of(lock: Path) -> Path:
    """The folder of the environment that a lock describes, which is made first where it isn't there yet. Every hash is
    checked."""
    folder = CACHE_DIR / "environments" / f"{lock.stem}-{hashlib.sha256(lock.read_bytes()).hexdigest()[:12]}"
    if not (folder / "complete").exists():
        uv = str(Path(sys.executable).with_name("uv"))
        subprocess.run([uv, "venv", "--quiet", "--clear", "--python", sys.executable, str(folder)], check=True)
        python = str(folder / "bin" / "python")
        subprocess.run([uv, "pip", "sync", "--quiet", "--require-hashes", "--python", python, str(lock)], check=True)
        (folder / "complete").touch()
    return folder
