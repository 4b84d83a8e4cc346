"""The spans of one trace as a tree: each hop with when it began and how long it took."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from tests.otlp_receiver import ReceivedSpan

NAME_WIDTH = 62
"""Of the longest hop, six levels deep."""


def tree(spans: Sequence[ReceivedSpan], notes: Mapping[str, str]) -> str:
    """Lines of text. Times: milliseconds; beginnings are counted from the first span's. `notes`: span id → what to say
    behind it. A span whose parent isn't here is a root."""
    first_ns = min(span.started_ns for span in spans)
    lines = [f"{'':{NAME_WIDTH}} {'at':>9} {'took':>9}"]
    for name, span in _branches(spans):
        at = (span.started_ns - first_ns) / 1e6
        note = notes.get(span.span_id)
        lines.append(
            f"{name:{NAME_WIDTH}} {at:6.1f} ms {span.milliseconds:6.1f} ms{'' if note is None else f'  {note}'}"
        )
    return "\n".join(lines)


def _branches(spans: Sequence[ReceivedSpan]) -> Iterator[tuple[str, ReceivedSpan]]:
    """Each span behind its parent, siblings in the order of their beginnings, with its place drawn before its name."""
    known = {span.span_id for span in spans}
    children: dict[str, list[ReceivedSpan]] = {}
    for span in sorted(spans, key=lambda span: span.started_ns):
        children.setdefault(span.parent_id if span.parent_id in known else "", []).append(span)

    def below(parent: str, margin: str) -> Iterator[tuple[str, ReceivedSpan]]:
        siblings = children.get(parent, [])
        for number, span in enumerate(siblings, 1):
            last = number == len(siblings)
            yield f"{margin}{'└─ ' if last else '├─ '}{span.service.removeprefix('flit-')}: {span.name}", span
            yield from below(span.span_id, margin + ("   " if last else "│  "))

    yield from below("", "")
