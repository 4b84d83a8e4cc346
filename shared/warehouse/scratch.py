"""Tables that are gone after the work."""

from __future__ import annotations

SCRATCH_HOURS = 1
"""One that a killed process leaves behind, which may hold personal data, removes itself after this long."""

EXPIRY = f"OPTIONS(expiration_timestamp = TIMESTAMP_ADD(CURRENT_TIMESTAMP(), INTERVAL {SCRATCH_HOURS} HOUR))"
"""Of a `CREATE TABLE`."""
