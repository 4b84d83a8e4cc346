"""Switches a safeguard off in one service, for the negative controls: a ledger that can't fail proves nothing.

Python imports this module at its start where its folder is on the path. Nothing of it is in the services themselves.
"""

import os
import sys

CONTROL = os.environ.get("CHAOS_CONTROL", "")


def _without_deduplication() -> None:
    from shared.feature_definitions.state import CustomerState, Sighting

    CustomerState.sighting = lambda self, event_id, fingerprint: Sighting.NEW  # type: ignore[method-assign]


def _without_acknowledgements() -> None:
    from shared.kafka.producer import ReliableProducer

    async def attempt(self, producer, records):  # type: ignore[no-untyped-def]
        for record in records:
            await producer.send(
                record.topic, record.value, key=record.key, partition=record.partition, headers=record.headers
            )
        return []

    ReliableProducer._attempt = attempt  # type: ignore[method-assign]


CONTROLS = {"no-deduplication": _without_deduplication, "no-acknowledgements": _without_acknowledgements}

if CONTROL and "services.features" in sys.orig_argv:
    CONTROLS[CONTROL]()
