"""One purchase's line on an account, as it lies in Redis: its name and its entry.

A purchase is settled soon, and lies there for months: then it is packed, 9 bytes beside the 16 of its name. Kept as
text is what is reserved, for a minute or for a review, what was called off, and what doesn't fit:

    packed     1 (counts) or 2 (released), cents (4 bytes), day (2), period (1), instalments (1); big-endian
    as text    "<standing> <cents> <day> <period> <instalments>"

`standing`: of `Standing`; above 0 reserved until then, in milliseconds since 1970.
"""

from __future__ import annotations

import hashlib
import struct

from shared.exposure.account import Reservation, Standing

_PACKED = struct.Struct(">BIHBB")
_TAGS: dict[int, int] = {Standing.COUNTS: 1, Standing.RELEASED: 2}


NO_ID = b"\xff"


def name_of(event_id: str) -> bytes:
    """16 bytes, 15 of them of a hash. Whoever asks chooses the id, and must not find two of the same name, nor one that
    is another's name: one would hide the other from the limit. No id begins with the first byte: it is no UTF-8."""
    return NO_ID + hashlib.blake2b(event_id.encode(), digest_size=15).digest()


def entry_of(standing: int, held: Reservation) -> bytes:
    try:
        return _PACKED.pack(_TAGS[standing], held.cents, held.day, held.period_days, held.instalments)
    except (KeyError, struct.error):
        return f"{int(standing)} {held.text()}".encode()


LUA = """
local function read(entry)
  local tag = string.byte(entry)
  if tag > 2 then
    local s, c, d, p, n = string.match(entry, '^(%S+) (%S+) (%S+) (%S+) (%S+)$')
    return tonumber(s), tonumber(c), tonumber(d), tonumber(p), tonumber(n)
  end
  local _, c, d, p, n = struct.unpack('>BI4I2BB', entry)
  return 1 - tag, c, d, p, n
end
local function written(s, c, d, p, n)
  if (s == 0 or s == -1) and c < 2^32 and d < 2^16 and p < 256 and n < 256 then
    return struct.pack('>BI4I2BB', 1 - s, c, d, p, n)
  end
  return string.format('%.0f %.0f %.0f %.0f %.0f', s, c, d, p, n)
end
"""
"""The same for scripts. A text begins with a digit or a minus, whose bytes are above any tag."""
