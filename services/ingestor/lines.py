"""Lines out of bytes. Pure."""

from __future__ import annotations

from dataclasses import dataclass

MAX_LINE_BYTES = 1_048_576
"""Held of one line. An event is about 1,350 bytes; a source that never ends its line must not fill the memory."""


@dataclass(frozen=True, slots=True)
class Line:
    """A line of the source that isn't blank, without its line end."""

    number: int
    """Counted from 0 over one stream, blank lines left out: the same line has the same number in a repeated stream."""
    raw: bytes
    ended: bool = True
    """False: the stream ended before the line did."""
    overlong: bool = False
    """True: only the first MAX_LINE_BYTES were kept."""


class LineSplitter:
    """Puts lines together across chunk boundaries: how the bytes were cut into chunks makes no difference."""

    def __init__(self, max_line_bytes: int = MAX_LINE_BYTES) -> None:
        self._max = max_line_bytes
        self._pieces: list[bytes] = []
        self._held = 0
        self._overlong = False
        self._next_number = 0

    def feed(self, chunk: bytes) -> list[Line]:
        """The lines that `chunk` completes."""
        *ended, rest = chunk.split(b"\n")
        lines = []
        for piece in ended:
            self._keep(piece)
            line = self._close(ended=True)
            if line is not None:
                lines.append(line)
        self._keep(rest)
        return lines

    def finish(self) -> Line | None:
        """What was left without a line end when the stream ended."""
        return self._close(ended=False)

    def _keep(self, piece: bytes) -> None:
        room = self._max - self._held
        if len(piece) > room:
            self._overlong = True
            piece = piece[:room]
        if piece:
            self._pieces.append(piece)
            self._held += len(piece)

    def _close(self, *, ended: bool) -> Line | None:
        raw = b"".join(self._pieces).removesuffix(b"\r")
        overlong = self._overlong
        self._pieces, self._held, self._overlong = [], 0, False
        if not raw.strip() and not overlong:
            return None
        line = Line(self._next_number, raw, ended, overlong)
        self._next_number += 1
        return line
