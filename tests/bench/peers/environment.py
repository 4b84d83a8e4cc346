"""Environments of the peers: their own versions, from their own locks, kept beside the fetched parts."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

from deploy.local.stack import CACHE_DIR

HERE = Path(__file__).parent


def python_of(peer: str) -> Path:
    """The interpreter of a peer's environment, which is made first where it isn't there yet."""
    lock = HERE / f"{peer}.lock"
    folder = CACHE_DIR / "peers" / f"{peer}-{hashlib.sha256(lock.read_bytes()).hexdigest()[:12]}"
    python = folder / "bin" / "python"
    if not (folder / "complete").exists():
        uv = str(Path(sys.executable).with_name("uv"))
        subprocess.run([uv, "venv", "--quiet", "--clear", "--python", sys.executable, str(folder)], check=True)
        install = [uv, "pip", "sync", "--quiet", "--require-hashes", "--python", str(python), str(lock)]
        subprocess.run(install, check=True)
        (folder / "complete").touch()
    return python
