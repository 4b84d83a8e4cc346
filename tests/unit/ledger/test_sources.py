"""What features take from a purchase itself reads the same in what was sent and in what the door made of it."""

from __future__ import annotations

import json
import random

from services.ledger.book import Book
from shared.contracts.events import encode
from shared.contracts.rejections import Rejection
from shared.contracts.transactions import Door, Limits, decode_transaction
from shared.feature_definitions import FEATURE_SET_VERSION, CustomerState, features_of
from tests.factories import DAY_US, START_US
from tests.fuzz.payloads import Mutator, seeds
from tests.unit.ledger.world import PARTITIONS, record

FUZZED = 3_000


def test_every_vector_of_an_odd_but_accepted_purchase_is_that_of_the_purchase_on_the_log() -> None:
    dice, from_which = random.Random(7), seeds()
    mutator, accepted = Mutator(dice), 0
    for raw in [*from_which, *(mutator.mutate(dice.choice(from_which)) for _ in range(FUZZED))]:
        try:
            read = decode_transaction(raw, door=Door.TOPIC, received_us=START_US + 500 * DAY_US, limits=Limits())
        except Rejection:
            continue
        accepted += 1
        purchase = read.transaction
        at = record("bnpl-transactions", 0, purchase.customer_id, raw)
        vector = {
            "event_id": purchase.event_id, "customer_id": purchase.customer_id, "occurred_at": purchase.occurred_at,
            "features": features_of(CustomerState(), read), "as_of": {"transactions": -1, "outcomes": -1},
            "transaction": json.loads(encode(purchase)), "feature_set_version": FEATURE_SET_VERSION, "state": "fresh",
        }  # fmt: skip
        book = Book(PARTITIONS)
        book.add(at)
        book.add(record("bnpl-features", 0, purchase.customer_id, vector))
        assert (book.mismatches, book.unread) == ([], []), raw
    assert accepted > FUZZED / 20
