"""Follows the hash chain of decisions through the warehouse, and names the rows that aren't as they were written. Pure.

By the contract (docs/reference/contract.md) and nothing else: a row's link is the SHA-256 of the link before it, its
offset and its record's hash; so a row can't be changed, taken out or put in without the next one telling. Who writes
all later links anew as well is found out by the log, as far back as it reaches, and by an earlier audit's last links.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from services.ledger.book import Book
from services.ledger.checks import Finding, Rows
from services.ledger.content import of_record
from shared.contracts.topics import DECISIONS

TOPIC = DECISIONS.name
TABLE = "flit_ml_raw.raw_bnpl_prediction_logs"

SEARCHED = 1_000
"""Rows looked through, each way, for one that goes on: as many may have been put in one after the other."""

MOST_BREAKS = 100
"""Then the rest is only counted: a chain that was made up altogether would be searched at each row."""


class ChainRow(NamedTuple):
    """A row of the table. Hashes in hex."""

    offset: int
    record_sha256: str | None
    chain_sha256: str | None
    kept_sha256: str | None = None
    """Of `record_json` as it stands there now; None: it isn't there, or any more."""


@dataclass
class Followed:
    """One partition's chain. Offsets."""

    older: list[int] = field(default_factory=list)
    """Rows from before there was a chain."""
    links: int = 0
    begins: int | None = None
    last: tuple[int, str] | None = None
    """The last row, and its link: what an auditor keeps."""
    beside: list[int] = field(default_factory=list)
    """Rows that the chain passes over."""
    breaks: list[tuple[int, int | None]] = field(default_factory=list)
    """(the row that doesn't follow, the one before it)."""


class KeptRecord(NamedTuple):
    """What a row holds of a record that the log no longer has."""

    partition: int
    offset: int
    record_json: str | None
    features: str | None
    erased: bool


Heads = Mapping[int, tuple[int, str]]
"""Partition → the last row's offset and link, as an audit saw it."""


def beginning(partition: int) -> str:
    return hashlib.sha256(f"{TOPIC}:{partition}".encode()).hexdigest()


def _link(before: str, row: ChainRow) -> str:
    return hashlib.sha256(f"{before}:{row.offset}:{row.record_sha256}".encode()).hexdigest()


def follow(before: str, rows: Iterable[ChainRow]) -> Followed:
    """`before`: what stands before the first link; `rows`: of one partition, in any order."""
    found, linked = Followed(), list[ChainRow]()
    for row in sorted(rows, key=lambda row: row.offset):
        if row.chain_sha256 is not None:
            linked.append(row)
        elif linked:
            found.beside.append(row.offset)
        else:
            found.older.append(row.offset)
    path: list[tuple[int | None, str]] = [(None, before)]
    at = 0
    while at < len(linked):
        row = linked[at]
        if _link(path[-1][1], row) == row.chain_sha256:
            path.append((row.offset, row.chain_sha256))
            at += 1
            continue
        searched = len(found.breaks) < MOST_BREAKS
        if searched and (back := _back(path, row)):
            found.beside += [offset for offset, _ in path[-back:] if offset is not None]
            del path[-back:]
        elif searched and (ahead := _ahead(path[-1][1], linked, at)):
            found.beside += [skipped.offset for skipped in linked[at:ahead]]
            at = ahead
        else:
            found.breaks.append((row.offset, path[-1][0]))
            path.append((row.offset, _goes_on(path[-1][1], row, linked[at + 1 : at + 2])))
            at += 1
    if linked:
        found.begins, found.links = linked[0].offset, len(path) - 1
        found.last = next((offset, link) for offset, link in reversed(path) if offset is not None)
    found.beside.sort()
    return found


def _back(path: Sequence[tuple[int | None, str]], row: ChainRow) -> int:
    """How many of the last rows were put in: the row follows the one before them. 0: it doesn't."""
    return next(
        (back for back in range(1, min(SEARCHED, len(path))) if _link(path[-1 - back][1], row) == row.chain_sha256), 0
    )


def _ahead(before: str, linked: Sequence[ChainRow], at: int) -> int:
    """Where the chain goes on behind rows that were put in; 0: nowhere."""
    later = range(at + 1, min(at + SEARCHED, len(linked)))
    return next((i for i in later if _link(before, linked[i]) == linked[i].chain_sha256), 0)


def _goes_on(before: str, row: ChainRow, following: Sequence[ChainRow]) -> str:
    """The link that the next row follows: the one in the row, or the one that should be in it."""
    should = _link(before, row)
    goes_on = any(_link(should, each) == each.chain_sha256 for each in following)
    return should if goes_on else str(row.chain_sha256)


def examine(
    finding: Finding, book: Book, rows: Mapping[int, Sequence[ChainRow]], earlier: Heads
) -> dict[int, Followed]:
    """Enters into P3 what the chain tells; partition → its chain. `earlier`: of another audit."""
    on_log = {(place[1], place[2]): digest.hex() for found in book.decisions.values() for place, digest, *_ in found}
    followed = {partition: follow(beginning(partition), of_partition) for partition, of_partition in rows.items()}
    for partition, found in sorted(followed.items()):
        finding.checked += found.links
        old = frozenset(found.older)
        for offset, before in found.breaks:
            after = "its beginning" if before is None else f"({partition}, {before})"
            finding.violations.append(
                f"{TABLE}: the chain of {TOPIC} breaks between {after} and ({partition}, {offset}): one of the two was"
                " changed, or a row between them taken out"
            )
        for offset in (*found.older, *found.beside):
            _beside(finding, book, (partition, offset), on_log, expected=offset in old)
        for row in rows[partition]:
            _hashes(finding, (partition, row.offset), row, on_log.get((partition, row.offset)))
    for partition, (offset, link) in sorted(earlier.items()):
        if not any(row.offset == offset and row.chain_sha256 == link for row in rows.get(partition, ())):
            finding.violations.append(
                f"{TABLE}: the link of {TOPIC} ({partition}, {offset}) that an earlier audit saw isn't there any more"
            )
    return followed


def _beside(
    finding: Finding, book: Book, place: tuple[int, int], on_log: Mapping[tuple[int, int], str], *, expected: bool
) -> None:
    """A row that isn't in the chain: written by a repair where another release had refused the record, by a sink of
    before there was a chain, or by nobody who should. The log tells. `expected`: it lies before the chain."""
    if place in on_log or not book.judged((TOPIC, *place)):
        return
    if book.expired.took((TOPIC, *place)):
        if expected:
            return
        finding.not_checkable.append(f"{TABLE}: the row of {TOPIC} {place} isn't in the chain, and its record is gone")
    else:
        finding.violations.append(f"{TABLE}: a row of {TOPIC} {place} that neither the chain nor the log has")


def _hashes(finding: Finding, place: tuple[int, int], row: ChainRow, record: str | None) -> None:
    if row.record_sha256 is None:
        return
    if record is not None and record != row.record_sha256:
        finding.violations.append(f"{TABLE}: record_sha256 of {TOPIC} {place} isn't the record's")
    if row.kept_sha256 is not None and row.kept_sha256 != row.record_sha256:
        finding.violations.append(f"{TABLE}: record_json of {TOPIC} {place} isn't what record_sha256 says")


def expired_records(finding: Finding, kept: Iterable[KeptRecord], rows: Rows) -> None:
    """Enters into P3 whether rows of records that the log no longer has say what their `record_json` says, which the
    chain vouches for. `rows`: the table's."""
    for each in kept:
        place = (each.partition, each.offset)
        finding.checked += 1
        if each.record_json is None:
            if not each.erased:
                finding.not_checkable.append(f"{TABLE}: {TOPIC} {place} is gone, and its row doesn't hold it")
            continue
        try:
            record = json.loads(each.record_json)
            says = of_record(TOPIC, record)[TABLE], record["event_id"], record["features"]
        except (ValueError, KeyError, TypeError):
            continue  # what was changed so much isn't what its hash says either
        row = next(iter(rows.get(place, ())), None)
        features = None if each.features is None else json.loads(each.features)
        if row is not None and (row.content, row.event_id, features) != says:
            finding.violations.append(f"{TABLE}: the row of {TOPIC} {place} says something else than its record_json")


def shown(followed: Mapping[int, Followed]) -> dict[str, dict[str, object]]:
    """The chains as the report's JSON holds them; `last` is what the next audit is given (`heads_of`)."""
    return {
        f"{TOPIC}-{partition}": {
            "older_rows": len(found.older),
            "begins": found.begins,
            "links": found.links,
            "beside": len(found.beside),
            "last": None if found.last is None else {"offset": found.last[0], "chain_sha256": found.last[1]},
        }
        for partition, found in sorted(followed.items())
    }


def heads_of(chains: Mapping[str, Any]) -> dict[int, tuple[int, str]]:
    """The last links of an earlier report's `chain`. KeyError, TypeError or ValueError: it isn't one."""
    return {
        int(name.removeprefix(f"{TOPIC}-")): (int(last["offset"]), str(last["chain_sha256"]))
        for name, found in chains.items()
        if (last := found["last"]) is not None
    }
