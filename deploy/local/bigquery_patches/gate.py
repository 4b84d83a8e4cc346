"""The one lock under which the emulator's data and catalogue change, over REST or over gRPC."""

from __future__ import annotations

import threading

WRITE_GATE = threading.RLock()
"""Reentrant: a patched function that holds it calls others that take it.

Taken after a stream's own lock, never before it, so that two appends can't wait for each other.
"""
