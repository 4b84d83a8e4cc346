"""What the log says, read once and kept small: the books that the checks compare."""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from aiokafka import ConsumerRecord

from services.ledger.content import of_record
from services.ledger.entries import Place, Purchase, VectorSeen
from services.ledger.expired import Expired, is_undecided
from services.ledger.freshness import Freshness
from services.ledger.reading import (
    UNREADABLE,
    asked_of,
    content_of,
    event_id_of,
    is_decided_on,
    is_of_this_release,
    micros_of,
    own_of,
    refused_of,
    sha256_of,
    source_of,
    transaction_of,
)
from services.ledger.recompute import Buy, Known, Subject, buy_of, differences, features, subject_of
from shared.contracts import identity
from shared.contracts.headers import REROUTED_HEADER
from shared.contracts.pseudonyms import OFF, Kind, Pseudonyms
from shared.contracts.rejections import RejectionReason
from shared.contracts.topics import (
    BY_NAME,
    DEAD_LETTERS,
    DECISION_UPDATES,
    DECISIONS,
    FEATURES,
    OUTCOMES,
    TRANSACTIONS,
)

ORIGIN = re.compile(r"(.+)-([0-9]{1,9})-([0-9]{1,18})")
"""Of a record that was sent again: topic, partition, offset. Others may send any header of that name."""

KEPT_BYTES = 65_536
"""Of a refused value, a letter keeps so much."""


@dataclass
class Book:
    """Filled by `add`."""

    partitions: int
    scope: dict[tuple[str, int], int] = field(default_factory=dict)
    """(topic, partition) → the offset at which what is judged ends; absent: all of it is."""
    pseudonyms: Pseudonyms = OFF
    """Vectors and decisions know customers by these, purchases and outcomes by their ids."""
    erased: frozenset[str] = frozenset()
    """Purchases whose customer was erased: the log has them still, his state since then has not."""
    expired: Expired = field(default_factory=Expired)
    """What came before the first records that the log still has."""
    records: dict[str, dict[tuple[int, int], str | None]] = field(
        default_factory=lambda: {name: {} for name in BY_NAME}
    )
    """Topic → (partition, offset) → event id as the record states it (None: not to be told)."""
    contents: dict[str, dict[tuple[int, int], bytes]] = field(default_factory=lambda: defaultdict(dict))
    """Table → (partition, offset) → digest of what the record's row there has to say."""
    letters: dict[Place, list[tuple[str, str, str]]] = field(default_factory=lambda: defaultdict(list))
    """Where the refused record lay → (reason, SHA-256 stated, SHA-256 of the bytes kept) of each of its letters."""
    undecided: set[Place] = field(default_factory=set)
    """Vectors that were refused a decision, since their event was decided for another purchase. They are in order."""
    unanswered: set[str] = field(default_factory=set)
    """Vectors of another customer than their event was decided for, without a letter."""
    refused: dict[Place, tuple[str, str]] = field(default_factory=dict)
    """Of records that have a letter: SHA-256 of their value, and of what a letter keeps of it."""
    unread: list[str] = field(default_factory=list)
    """Records that say nothing sensible and have no letter."""
    misplaced: set[Place] = field(default_factory=set)
    refused_elsewhere: set[Place] = field(default_factory=set)
    """Misplaced records that were refused where they were sent again: their one letter is that of the copy."""
    changed: dict[Place, str] = field(default_factory=dict)
    """Purchases under the id of an earlier one of the same customer, on other terms, without a letter → event id."""
    own: dict[tuple[int, int], tuple[str, int]] = field(default_factory=dict)
    """(partition, offset) of each purchase → its customer, and what its features take from itself, see `own_of`."""
    _bought_ids: set[tuple[str, str]] = field(default_factory=set)
    gone: set[str] = field(default_factory=set)
    """Events whose purchase the log no longer has."""
    purchases: dict[str, Purchase] = field(default_factory=dict)
    by_source: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    bought: dict[str, list[Buy]] = field(default_factory=lambda: defaultdict(list))
    """Customer → purchases in log order. A customer's records all lie in one partition."""
    outcomes: dict[str, list[Known]] = field(default_factory=lambda: defaultdict(list))
    vectors: dict[str, list[VectorSeen]] = field(default_factory=lambda: defaultdict(list))
    mismatches: list[str] = field(default_factory=list)
    not_checkable: list[str] = field(default_factory=list)
    """Features that differ from the recomputation, of whose inputs some are gone."""
    vectors_checked: int = 0
    decisions: dict[str, list[tuple[Place, bytes, str | None, str]]] = field(default_factory=lambda: defaultdict(list))
    """Event id → (place, SHA-256 of the bytes, degraded, model version)."""

    asked: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Decisions made over REST whose features are still to be checked."""
    freshness: Freshness = field(default_factory=Freshness)
    contested: set[str] = field(default_factory=set)
    """Events of which a second body was refused: the checkout may have decided on that one, a moment before."""

    def __post_init__(self) -> None:
        for event_id, source in self.expired.events:
            if event_id not in self.gone:
                self.gone.add(event_id)
                self.by_source[source] += 1
        for customer_id, buy in self.expired.bought:
            self._buy(self.pseudonyms.once(Kind.CUSTOMER, customer_id), buy)
        for customer_id, known in self.expired.outcomes:
            self.outcomes[self.pseudonyms.once(Kind.CUSTOMER, customer_id)].append(known)

    def was_refused(self, place: Place) -> bool:
        """Whether the record has a letter, on the log or in the warehouse only, and so no effect."""
        return self._has_letter(place) and not self.is_undecided(place)

    def passed_over(self) -> list[Place]:
        """Changed purchases that nobody has told of: neither was refused, nor a vector of their event. An erased
        customer's state knows his earlier ones no more."""
        return [
            place
            for place, event_id in self.changed.items()
            if self.judged(place)
            and event_id not in self.erased
            and not any(self.is_undecided(vector.place) for vector in self.vectors.get(event_id, ()))
        ]

    def was_refused_a_decision(self, event_id: str) -> bool:
        """Whether all its vectors were: their event was claimed for another purchase."""
        on_the_log = self.vectors.get(event_id, ())
        if not on_the_log and event_id not in self.expired.vectors:
            return False
        return not self.expired.vectors.get(event_id, False) and all(
            self.is_undecided(vector.place) for vector in on_the_log
        )

    def is_undecided(self, place: Place) -> bool:
        return place in self.undecided or place in self.expired.undecided

    def _has_letter(self, place: Place) -> bool:
        return place in self.letters or place in self.expired.refused

    def judged(self, place: Place) -> bool:
        """Whether everything that follows from the record has to be there."""
        end = self.scope.get(place[:2])
        return end is None or place[2] < end

    def add(self, record: ConsumerRecord) -> None:
        """Enter a record; topic after topic in the order of `READ_IN_ORDER`."""
        place = (record.topic, record.partition, record.offset)
        if record.topic != DEAD_LETTERS.name and self._is_refused(record, place):
            return
        if record.topic in (TRANSACTIONS.name, OUTCOMES.name) and self._is_misplaced(record, place):
            return
        try:
            _ENTER[record.topic](self, record, place)
        except UNREADABLE:
            # It has a letter, on its way perhaps, or gone for good.
            if self.judged(place):
                self.unread.append(f"{place}: can't be read, and has no letter")

    def _dead_letter(self, record: ConsumerRecord, _: Place) -> None:
        body = json.loads(record.value)
        refused, stated = refused_of(body)
        self.letters[refused].append(stated)
        if is_undecided(refused[0], stated[0]):
            self.undecided.add(refused)
        self._note(record, None, body)

    def _transaction(self, record: ConsumerRecord, place: Place) -> None:
        body, event_id, t = transaction_of(record)
        bought = buy_of(record.offset, t, body, event_id)
        customer = self.pseudonyms.of(Kind.CUSTOMER, body["customer_id"])
        own = customer, own_of(subject_of(body, t))
        self._note(record, event_id, body)
        self.own[place[1:]] = own
        terms = hash((bought.t, bought.minor, bought.currency))
        first = self.purchases.get(event_id)
        if first is not None:
            if first.customer_id == customer and first.terms != terms:
                self.changed[place] = event_id
        elif event_id not in self.gone:
            self.purchases[event_id] = Purchase(place, event_id, customer, terms)
            self.by_source[source_of(body)] += 1
        self._buy(customer, bought)

    def _buy(self, customer: str, buy: Buy) -> None:
        # Another customer's purchase under an id that is taken gets no decision of its own. It is in the features of
        # that customer: in another partition, perhaps, where nobody knows of the first.
        if (customer, buy.event_id) in self._bought_ids:
            return
        self._bought_ids.add((customer, buy.event_id))
        if self.pseudonyms.on:  # as the rows of earlier ones have them
            device = buy.device and self.pseudonyms.once(Kind.DEVICE, buy.device)
            buy = replace(
                buy, device=device, method=buy.method and self.pseudonyms.once(Kind.PAYMENT_METHOD, buy.method)
            )
        self.bought[customer].append(buy)

    def _outcome(self, record: ConsumerRecord, _: Place) -> None:
        body = json.loads(record.value)
        day = micros_of(body["observed_at"]) // 86_400_000_000
        customer_id = self.pseudonyms.of(Kind.CUSTOMER, body["customer_id"])
        known = Known(record.offset, event_id_of(body), day, bool(body["defaulted"]))
        self._note(record, known.event_id, body)
        self.outcomes[customer_id].append(known)
        self.freshness.outcome(record.partition, record.offset, record.timestamp, record.timestamp_type)

    def _vector(self, record: ConsumerRecord, place: Place) -> None:
        body = json.loads(record.value)
        content = content_of(body)
        seen = VectorSeen(event_id_of(body), place, body["customer_id"], body["state"], content, record.timestamp)
        subject = subject_of(body["transaction"], micros_of(body["occurred_at"]))
        self._confirm(record.partition, body, subject)
        self._confirm_source(record.partition, body, own_of(subject))
        self._note(record, seen.event_id, body)
        if seen.state == "fresh" and seen.event_id not in self.vectors:
            self.freshness.vector(record.partition, seen.event_id, body["as_of"], seen.sent_ms)
        self.vectors[seen.event_id].append(seen)

    def _decision(self, record: ConsumerRecord, place: Place) -> None:
        body = json.loads(record.value)
        event_id = event_id_of(body)
        entry = (place, hashlib.sha256(record.value).digest(), body["degraded"], body["model_version"])
        self._judge_decision(body)
        self._note(record, event_id, body)
        self.decisions[event_id].append(entry)

    def _judge_decision(self, body: dict[str, Any]) -> None:
        vectors = self.vectors.get(body["event_id"], ())
        for vector in vectors:
            if self.judged(vector.place) and not self._has_letter(vector.place) and self._is_another(vector, body):
                self.unanswered.add(
                    f"{vector.event_id}: decided for another customer than that of its vector at {vector.place}, which "
                    "has no letter: rewind the scorer to that vector"
                )
        if body["channel"] == "stream" and vectors and content_of(body) not in {each.content for each in vectors}:
            self.mismatches.append(f"{body['event_id']}: decided on features that no vector of it has")
        if body["channel"] == "rest" and body["degraded"] is None:
            self.asked[body["event_id"]] = asked_of(body)

    def confirm_asked(self, record: ConsumerRecord) -> None:
        """Check the features of a decision that was made over REST, where no vector on the topic holds them.

        Called with every transaction once more, after the decisions were read.
        """
        place = (record.topic, record.partition, record.offset)
        known = (record.partition, record.offset) in self.records[record.topic]
        refused = self.was_refused(place) and not self._is_second_body(place)
        if self.asked and known and not refused and place not in self.misplaced:
            body, event_id, t = transaction_of(record)
            decided = self.asked.get(event_id)
            # Another customer's purchase may have come under the same id, and may lie before it.
            if decided is None or decided["customer_id"] not in self._names(body["customer_id"]):
                return
            if event_id in self.contested and not is_decided_on(decided, body, t):
                return
            del self.asked[event_id]
            self._confirm(record.partition, decided, subject_of(body, t))
            for vector in self.vectors.get(event_id, ())[:1]:
                self.freshness.asked(record.partition, event_id, decided["as_of"], record.timestamp, vector.sent_ms)

    def _is_second_body(self, place: Place) -> bool:
        return any(reason == RejectionReason.CONFLICT.value for reason, _, _ in self.letters.get(place, ()))

    def _names(self, customer_id: str) -> tuple[str, str]:
        return customer_id, self.pseudonyms.of(Kind.CUSTOMER, customer_id)

    def confirm_gone(self, event_id: str, customer_id: str | None, partition: int, body: dict[str, Any]) -> None:
        """The same where only the warehouse has the purchase any more. `customer_id`: None where he was erased."""
        decided = self.asked.get(event_id)
        if decided is None or (customer_id is not None and decided["customer_id"] not in self._names(customer_id)):
            return
        del self.asked[event_id]
        self._confirm(partition, decided, subject_of(body, micros_of(body["occurred_at"])), certain=False)

    def _update(self, record: ConsumerRecord, _: Place) -> None:
        body = json.loads(record.value)
        self._note(record, body.get("event_id"), body)

    def _is_refused(self, record: ConsumerRecord, place: Place) -> bool:
        if not self._has_letter(place):
            return False
        for name, origin in record.headers:
            if name == REROUTED_HEADER and (found := ORIGIN.fullmatch((origin or b"").decode("utf-8", "replace"))):
                topic, partition, offset = found.groups()
                self.refused_elsewhere.add((topic, int(partition), int(offset)))
        value = record.value or b""
        self.refused[place] = (sha256_of(value), sha256_of(value[:KEPT_BYTES]))
        if not self.was_refused(place):
            return False
        self._note(record, None)
        if record.topic == TRANSACTIONS.name and self._is_second_body(place):
            with contextlib.suppress(*UNREADABLE):
                self.contested.add(transaction_of(record)[1])
        return True

    def _is_misplaced(self, record: ConsumerRecord, place: Place) -> bool:
        """Whether its key gives another partition: then it was sent there again, and what it holds is judged there."""
        if identity.partition_of(record.key or b"", self.partitions) == record.partition:
            return False
        self.misplaced.add(place)
        self._note(record, None)
        return True

    def _note(self, record: ConsumerRecord, event_id: str | None, body: Mapping[str, Any] | None = None) -> None:
        """`body`: where a row has to say the same."""
        place = (record.partition, record.offset)
        if body is not None:
            for table, content in of_record(record.topic, body).items():
                self.contents[table][place] = content
        self.records[record.topic][place] = event_id

    def _confirm(self, partition: int, body: dict[str, Any], subject: Subject, *, certain: bool = True) -> None:
        """Compare a vector's features with a recomputation from exactly the records at or below its `as_of`.

        `certain`: whether the purchase itself is as it was sent.
        """
        seen, own = body["as_of"], body["event_id"]
        customer = self.pseudonyms.once(Kind.CUSTOMER, body["customer_id"])
        earlier = [
            buy for buy in self.bought.get(customer, ()) if buy.offset <= seen["transactions"] and buy.event_id != own
        ]
        known = [outcome for outcome in self.outcomes.get(customer, ()) if outcome.offset <= seen["outcomes"]]
        recomputed = features(subject, earlier, known)
        wrong = differences(body["features"], recomputed, same_set=is_of_this_release(body))
        lacking = self.expired.lacks_inputs(partition)
        if wrong and not self._since_erasure(body, subject, earlier, known, lacking):
            found = f"{own}: {', '.join(wrong)}"
            if lacking or not certain or self._is_strange(customer):
                self.not_checkable.append(found)
                return
            self.mismatches.append(found)
        self.vectors_checked += 1

    def _confirm_source(self, partition: int, body: dict[str, Any], made_of: int) -> None:
        """Whether a vector was made of the purchase that lies right behind its `as_of`, as that was sent.

        `made_of`: `own_of` what the vector says of it.
        """
        place = (partition, body["as_of"]["transactions"] + 1)
        if self.expired.took((TRANSACTIONS.name, *place)):
            return
        if self.records[TRANSACTIONS.name].get(place) != body["event_id"]:
            self.mismatches.append(f"{body['event_id']}: its vector is as of {place}, and another record lies there")
            return
        customer, own = self.own[place]
        if own != made_of:
            self.mismatches.append(f"{body['event_id']}: its vector was made of another purchase than was sent")
        elif customer != self.pseudonyms.once(Kind.CUSTOMER, body["customer_id"]):
            told = self.not_checkable if self._is_strange(body["customer_id"]) else self.mismatches
            told.append(f"{body['event_id']}: its vector is another customer's, or of another key's pseudonym")

    def _is_another(self, vector: VectorSeen, decided: Mapping[str, Any]) -> bool:
        both = vector.customer_id, decided["customer_id"]
        of_vector, of_decision = (self.pseudonyms.once(Kind.CUSTOMER, customer_id) for customer_id in both)
        return of_vector != of_decision and not any(self._is_strange(customer_id) for customer_id in both)

    def _is_strange(self, customer_id: str) -> bool:
        """Whether it is a pseudonym that no purchase's customer has by this key: his purchase comes before all that is
        made of it, so it is of another key, which nobody may have any more."""
        return Pseudonyms.is_one(customer_id) and customer_id not in self.bought

    def _since_erasure(
        self,
        body: dict[str, Any],
        subject: Subject,
        earlier: list[Buy],
        known: list[Known],
        lacking: bool,
    ) -> bool:
        """Whether the features are those of a state that was begun anew when the customer was erased: of what came
        after one of the erased purchases, and after some outcome, whose order to the purchases the log doesn't give.

        `lacking`: the erased ones may be gone altogether.
        """
        cuts = [0] if lacking else []
        cuts += [number + 1 for number, buy in enumerate(earlier) if buy.event_id in self.erased]
        return any(
            not differences(
                body["features"],
                features(subject, earlier[cut:], known[outcomes_cut:]),
                same_set=is_of_this_release(body),
            )
            for cut in reversed(cuts)
            for outcomes_cut in range(len(known), -1, -1)
        )


_ENTER = {
    DEAD_LETTERS.name: Book._dead_letter,
    TRANSACTIONS.name: Book._transaction,
    OUTCOMES.name: Book._outcome,
    FEATURES.name: Book._vector,
    DECISIONS.name: Book._decision,
    DECISION_UPDATES.name: Book._update,
}

READ_IN_ORDER = tuple(_ENTER)
"""Names of topics: what is entered first explains what comes after it."""
