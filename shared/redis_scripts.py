"""Scripts in Redis, called by their hash."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Sequence
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import NoScriptError


async def run_script(client: Redis, script: str, keys: Sequence[str], arguments: Sequence[Any]) -> Any:
    """The script's answer. A Redis that doesn't know it, since it was started anew, is given its text."""
    try:
        return await client.evalsha(_sha(script), len(keys), *keys, *arguments)
    except NoScriptError:
        return await client.eval(script, len(keys), *keys, *arguments)


@functools.cache
def _sha(script: str) -> str:
    return hashlib.sha1(script.encode(), usedforsecurity=False).hexdigest()
