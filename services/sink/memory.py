"""Memory that is freed goes back to the system. After a burst a sink would keep hundreds of megabytes otherwise.

glibc keeps an arena for each of some dozen threads, and what is freed in them; Arrow's own pool keeps what it had. Rows
are made and forgotten by the thousand here, so that both keep the most that there ever was.
"""

from __future__ import annotations

import ctypes

import pyarrow as pa

M_TRIM_THRESHOLD, M_ARENA_MAX = -1, -8
"""Of mallopt(3)."""
TRIM_ABOVE_BYTES = 65_536


def give_back() -> None:
    """To be called before there are threads. Does what this machine's C library knows, and nothing elsewhere."""
    pa.set_memory_pool(pa.system_memory_pool())
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(M_ARENA_MAX, 1)
        mallopt(M_TRIM_THRESHOLD, TRIM_ABOVE_BYTES)
