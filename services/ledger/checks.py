"""The checks, pure: books in, violations out. Each names the very records that don't balance.

P1  every acknowledged event is on bnpl-transactions
P2  every event has exactly one decision; another purchase under its id, a letter
P3  every record has exactly one row in the warehouse, or was refused
P4  features equal a recomputation from exactly the records at or below their as_of, and that isn't minutes behind
P5  every refused record is in dead-letters, once, with its own bytes
P6  no offset is committed past an effect that isn't durable
P7  the services catch up with the log unattended, within the time that the audit waits
P8  every decision made without a model or without fresh states says so

What the log no longer has is known by its rows. Where there are none, a check that would need it finds nothing out:
that is neither a violation nor in order, and the finding says so.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from services.ledger.book import Book
from services.ledger.entries import Place
from shared.contracts.rejections import RejectionReason
from shared.contracts.topics import DEAD_LETTERS, DECISION_UPDATES, DECISIONS, FEATURES, OUTCOMES, TRANSACTIONS

REPAIRS = {
    "P1": "bring the days once more (`python -m services.ingestor backfill … --again`): what the topics hold of them is"
    " not sent again",
    "P2": "a missing decision: stop the scorer, `python -m services.scorer rewind PARTITION OFFSET` to the purchase's"
    " vector, start it; what is decided stays so",
    "P3": "`python -m services.sink repair`; a row that says something else than its record: delete it first. No chain"
    " is made anew (docs/operations/evidence.md)",
    "P4": "stop the features service, `python -m services.features rebuild --partition N`, start it; vectors and"
    " decisions that were given stay as they are",
    "P5": "none by command: the record lies on its topic, where the finding says, for its producer to send it again,"
    " mended",
    "P6": "as for what is missing: P2, P3 or P5",
    "P7": "the log of the service that stands still says why",
    "P8": "none: a decision can't be changed, only looked into",
}
"""What mends a violation, by the name of the check. Details: docs/operations/recovery.md."""

SHOWN = 20
"""Violations listed by name in a report; the count is always of all."""

TABLES: dict[str, tuple[str, ...]] = {
    TRANSACTIONS.name: ("flit_bnpl_raw.raw_bnpl_txs_json", "flit_bnpl_raw.transactions"),
    OUTCOMES.name: ("flit_bnpl_raw.outcomes",),
    FEATURES.name: ("flit_ml_raw.features",),
    DECISIONS.name: ("flit_ml_raw.raw_bnpl_prediction_logs",),
    DECISION_UPDATES.name: ("flit_ml_raw.decision_updates",),
    DEAD_LETTERS.name: ("flit_ml_raw.dead_letters",),
}
"""Where each topic is mirrored, as the contract says."""


class Mirrored(NamedTuple):
    """What a row says of its record."""

    event_id: str | None
    content: bytes | None = None
    """Digest of what else is compared (services.ledger.content); None: nothing is."""


MOST_REFUSED, MOST_REFUSED_SHARE = 10, 0.01
"""Of the purchases, so many may have been refused a decision for a claim that the topic knows nothing of. More are a
scorer that refuses what it should decide."""

Rows = Mapping[tuple[int, int], Sequence[Mirrored]]
"""(partition, offset) → its rows; more than one is a double."""

LOADED = frozenset(
    {
        "flit_bnpl_raw.raw_bnpl_txs_json", "flit_bnpl_raw.transactions", "flit_bnpl_raw.outcomes",
        "flit_ml_raw.features", "flit_ml_raw.dead_letters",
    }
)  # fmt: skip
"""Tables with rows of what was loaded in bulk, which have a `load_id` in place of a record."""

NOWHERE = (-1, -1)
"""In place of both, of rows that were neither mirrored nor loaded in bulk."""


@dataclass
class Finding:
    """The result of one check."""

    name: str
    about: str
    checked: int = 0
    violations: list[str] = field(default_factory=list)
    not_checkable: list[str] = field(default_factory=list)
    """What can't be told, since what it would take is neither on the log nor in the warehouse."""

    @property
    def balanced(self) -> bool | None:
        """None: as far as can be told."""
        if self.violations:
            return False
        return None if self.not_checkable else True


def acknowledged_events(book: Book, acknowledged: Mapping[str, int]) -> Finding:
    """P1. `acknowledged`: source → events that the ingestor counts as acknowledged."""
    finding = Finding("P1", "every acknowledged event is on bnpl-transactions")
    for source, count in sorted(acknowledged.items()):
        finding.checked += count
        found = book.by_source.get(source, 0)
        if found < count:
            told = f"{source}: {count} acknowledged, {found} on the topic"
            (finding.not_checkable if book.expired.lacks(TRANSACTIONS.name) else finding.violations).append(told)
    return finding


def one_decision(book: Book, answers: Mapping[str, bytes], why_not: str | None = None) -> Finding:
    """P2. `answers`: event id → SHA-256 of what REST gives for it now; `why_not`: why no more of them are compared."""
    finding, gone = Finding("P2", "every event has exactly one decision, the same bytes at both doors"), book.expired
    refused: list[str] = []
    for event_id, purchase in book.purchases.items():
        found = book.decisions.get(event_id)
        missing = not found and event_id not in gone.decisions
        if not found and not book.judged(purchase.place):
            continue
        if missing and book.was_refused_a_decision(event_id):
            refused.append(
                f"{event_id} at {purchase.place}: refused a decision for another's, which isn't there either"
            )
            continue
        if missing and gone.lacks(DECISIONS.name, purchase.place[1]):
            finding.not_checkable.append(f"{event_id} at {purchase.place}: no decision, and decisions are gone")
            continue
        if found and event_id in gone.decisions:
            finding.not_checkable.append(f"{event_id}: an earlier decision is gone; whether it had the same bytes")
            continue
        finding.checked += 1
        if missing:
            finding.violations.append(f"{event_id} at {purchase.place}: no decision")
        elif found and len({digest for _, digest, _, _ in found}) > 1:
            finding.violations.append(f"{event_id}: different decisions at {[place for place, *_ in found]}")
    # Claimed by a checkout whose purchase never came: Kafka was away, and nobody asked again. That is rare.
    if len(refused) > max(MOST_REFUSED, MOST_REFUSED_SHARE * len(book.purchases)):
        finding.checked += len(refused)
        finding.violations.extend(refused)
    finding.violations.extend(sorted(book.unanswered))
    for event_id in book.decisions.keys() - book.purchases.keys() - book.gone:
        if gone.lacks(TRANSACTIONS.name, book.decisions[event_id][0][0][1]):
            finding.not_checkable.append(f"{event_id}: a decision without a purchase, and purchases are gone")
        else:
            finding.violations.append(f"{event_id}: a decision without a purchase")
    for event_id, digest in answers.items():
        found = book.decisions.get(event_id)
        if found and found[0][1] != digest:
            finding.violations.append(f"{event_id}: REST answers other bytes than the topic holds")
    if why_not is not None:
        finding.not_checkable.append(f"answers of REST: {why_not}; {len(answers)} were compared")
    return finding


def warehouse_rows(book: Book, rows: Mapping[str, Rows], ends: Mapping[tuple[str, int], int]) -> Finding:
    """P3. `rows`: table → what it holds; `ends`: (topic, partition) → where it ended after the rows were read."""
    finding = Finding("P3", "every record has exactly one row, or was refused")
    for topic, tables in TABLES.items():
        expected = {
            place: event_id
            for place, event_id in book.records[topic].items()
            if not book.was_refused((topic, *place)) and book.judged((topic, *place))
        }
        for table in tables:
            held = rows[table]
            finding.checked += len(expected)
            for place in expected.keys() - held.keys():
                # Sent again to its own partition, and refused there; here it may have a row, where it can be read.
                if (topic, *place) in book.refused_elsewhere:
                    continue
                finding.violations.append(f"{table}: no row for {topic} {place}")
            for place in held.keys() - expected.keys():
                whole = (topic, *place)
                if place == NOWHERE:
                    finding.violations.append(f"{table}: {len(held[place])} rows that are of no record")
                elif place[1] >= ends.get(whole[:2], 0) or (not book.expired.took(whole) and book.judged(whole)):
                    why = "refused, yet a row" if book.was_refused(whole) else "a row without a record"
                    finding.violations.append(f"{table}: {why}: {topic} {place}")
            for place in held.keys() & expected.keys():
                row, content = held[place][0], book.contents[table].get(place)
                if len(held[place]) != 1:
                    finding.violations.append(f"{table}: {len(held[place])} rows for {topic} {place}")
                elif expected[place] is not None and row.event_id is not None and row.event_id != expected[place]:
                    finding.violations.append(f"{table}: the row of {topic} {place} is another event's: {row.event_id}")
                elif content is not None and row.content is not None and content != row.content:
                    finding.violations.append(
                        f"{table}: the row of {topic} {place} says something else than the record"
                    )
    return finding


def recomputed_features(book: Book) -> Finding:
    """P4."""
    about = "features equal a recomputation from the records at or below as_of, and that isn't minutes behind"
    finding = Finding("P4", about, book.vectors_checked)
    finding.violations.extend(book.mismatches)
    finding.violations.extend(book.freshness.stale)
    finding.not_checkable.extend(book.not_checkable)
    finding.not_checkable.extend(book.freshness.not_checkable)
    finding.not_checkable.extend(f"{event_id}: its purchase is gone" for event_id in sorted(book.asked))
    return finding


def refused_records(book: Book) -> Finding:
    """P5."""
    finding = Finding("P5", "every refused record is in dead-letters, once, with its own bytes")
    silent = [
        *book.unread,
        *(f"{place}: another body under a known id, without a letter" for place in book.passed_over()),
    ]
    finding.checked += len(silent)
    (finding.not_checkable if book.expired.lacks(DEAD_LETTERS.name) else finding.violations).extend(silent)
    reasons = {reason.value for reason in RejectionReason}
    for place, letters in book.letters.items():
        finding.checked += 1
        # At -1 lies no line but whatever came where a stream should have begun: another page at each outage.
        if len(set(letters)) > 1 and place[2] >= 0:
            finding.violations.append(f"{place}: {len(set(letters))} different letters")
        reason, whole, kept = letters[0]
        if reason not in reasons:
            finding.violations.append(f"{place}: unknown reason {reason}")
        if place in book.refused and book.refused[place] != (whole, kept):
            finding.violations.append(f"{place}: the letter's bytes aren't the record's")
    for place, stated in book.expired.refused.items():
        if place in book.refused:
            finding.checked += 1
            if stated != book.refused[place][0]:
                finding.violations.append(f"{place}: the letter's bytes aren't the record's")
    for event_id, purchase in book.purchases.items():
        if not _has_vector(book, event_id) and book.judged(purchase.place):
            if book.expired.lacks(FEATURES.name, purchase.place[1]) or book.expired.lacks(DEAD_LETTERS.name):
                finding.not_checkable.append(
                    f"{event_id} at {purchase.place}: neither vector nor letter, and some are gone"
                )
            else:
                finding.violations.append(f"{event_id} at {purchase.place}: neither vector nor letter")
    return finding


def _has_vector(book: Book, event_id: str) -> bool:
    return event_id in book.vectors or event_id in book.expired.vectors


def durable_before_commit(
    book: Book, committed: Mapping[str, Mapping[tuple[str, int], int]], rows: Mapping[str, Rows]
) -> Finding:
    """P6. `committed`: group → (topic, partition) → offset."""
    finding = Finding("P6", "no offset is committed past an effect that isn't durable")

    def below(group: str, place: Place) -> bool:
        return place[2] < committed.get(group, {}).get(place[:2], 0)

    for event_id, purchase in book.purchases.items():
        if book.judged(purchase.place) and below("flit-features", purchase.place):
            if not _has_vector(book, event_id) and book.expired.lacks(FEATURES.name, purchase.place[1]):
                finding.not_checkable.append(f"features committed past {purchase.place}, and vectors are gone")
                continue
            finding.checked += 1
            if not _has_vector(book, event_id):
                finding.violations.append(f"features committed past {purchase.place} without a vector")
    for event_id, vectors in book.vectors.items():
        for vector in vectors:
            if below("flit-scorer", vector.place) and not book.is_undecided(vector.place):
                decided = event_id in book.decisions or event_id in book.expired.decisions
                if not decided and book.expired.lacks(DECISIONS.name, vector.place[1]):
                    finding.not_checkable.append(f"scorer committed past {vector.place}, and decisions are gone")
                    continue
                finding.checked += 1
                if not decided:
                    finding.violations.append(f"scorer committed past {vector.place} without a decision")
    for topic, tables in TABLES.items():
        for place in book.records[topic]:
            whole = (topic, *place)
            refused = book.was_refused(whole) or whole in book.refused_elsewhere
            if not refused and book.judged(whole) and below("flit-sink", whole):
                finding.checked += 1
                finding.violations.extend(
                    f"sink committed past {whole} without a row in {table}"
                    for table in tables
                    if place not in rows[table]
                )
    return finding


def caught_up(lag: Mapping[str, int], seconds: float) -> Finding:
    """P7. `lag`: group → records that it still lacked after waiting `seconds`."""
    finding = Finding("P7", f"the services catch up with the log within {seconds:.0f} s", 3)
    finding.violations = [f"{group} still lacks {count} records" for group, count in lag.items() if count]
    return finding


def degraded_is_said(book: Book) -> Finding:
    """P8. Told from the log alone: no model's name, or a vector of states that were being rebuilt."""
    finding = Finding("P8", "every decision made without a model or fresh states says so")
    for event_id, found in book.decisions.items():
        rebuilding = any(vector.state != "fresh" for vector in book.vectors.get(event_id, ())[:1])
        for place, _, degraded, model_version in found:
            finding.checked += 1
            if degraded is None and model_version == "none":
                finding.violations.append(f"{event_id} at {place}: no model, and not degraded")
            if degraded is None and rebuilding:
                finding.violations.append(f"{event_id} at {place}: made of a vector that says rebuilding")
    return finding


def shown(findings: Iterable[Finding]) -> dict[str, dict[str, object]]:
    """The findings as the report's JSON holds them."""
    return {
        finding.name: {
            "about": finding.about,
            "balanced": finding.balanced,
            "checked": finding.checked,
            "violations": len(finding.violations),
            "examples": finding.violations[:SHOWN],
            "not_checkable": len(finding.not_checkable),
            "not_checkable_examples": finding.not_checkable[:SHOWN],
            "repair": REPAIRS[finding.name] if finding.violations else None,
        }
        for finding in findings
    }
