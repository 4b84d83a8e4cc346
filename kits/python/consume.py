"""Keep every decision, each once, whatever is killed on the way.

    python kits/python/consume.py decisions.db --until order-1

Reading is at least once: an offset is committed only after its decision is stored, so a process that ends in between
reads it again. Storing is idempotent: the event's id is the primary key, and a decision that is repeated has the same
bytes. Together each decision takes effect exactly once. An effect of your own (a message sent, an order released)
belongs into the same transaction, or has to be one that may be repeated.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import sqlite3
import sys
import time
from collections.abc import Sequence

from aiokafka import AIOKafkaConsumer
from aiokafka.errors import CommitFailedError
from contract import SERVERS, Message

WAIT_MS = 500
"""How long a look waits for records."""
AT_ONCE = 500
"""Checked and stored within some seconds: meanwhile the broker hears nothing of us, and after ten it gives our
partitions to somebody else."""
SILENCE_S = 60
"""With `--until`: after so long without a new decision there is none to be expected."""


def opened(path: str) -> sqlite3.Connection:
    database = sqlite3.connect(path)
    database.execute("CREATE TABLE IF NOT EXISTS decisions (event_id TEXT PRIMARY KEY, decision TEXT, record BLOB)")
    return database


def store(values: Sequence[bytes], message: Message, database: sqlite3.Connection) -> list[str]:
    """The event ids of those that are new, once all are on disk. Raises ContractBroken; then none of them is stored,
    nothing is committed, and the program ends: somebody has to look before it may go on."""
    new = []
    with database:
        for value in values:
            decision = json.loads(value)
            message.check(decision)
            row = (message.event(decision), decision["decision"], value)
            if database.execute("INSERT OR IGNORE INTO decisions VALUES (?, ?, ?)", row).rowcount:
                new.append(row[:2])
    for each in new:
        print(*each, flush=True)
    return [event for event, _ in new]


async def consume(database: sqlite3.Connection, group: str, until: str | None) -> None:
    """For ever, or until the decision of that event is stored. Raises TimeoutError where none comes any more."""
    message = Message.named("decision")
    consumer = AIOKafkaConsumer(
        message.topic,
        bootstrap_servers=SERVERS,
        group_id=group,
        auto_offset_reset="earliest",  # a new group wants what was decided before it, too
        enable_auto_commit=False,
    )
    await consumer.start()
    try:
        heard = time.monotonic()
        while not _stored(database, until):
            batches = await consumer.getmany(timeout_ms=WAIT_MS, max_records=AT_ONCE)
            records = [record.value for batch in batches.values() for record in batch]
            if records:
                store(records, message, database)
                # Held up for too long, the partitions are somebody else's, who reads these records again; or ours anew.
                with contextlib.suppress(CommitFailedError):
                    await consumer.commit()
                heard = time.monotonic()
            elif until is not None and time.monotonic() - heard > SILENCE_S:
                raise TimeoutError(
                    f"no decision of {until}: the purchase may have been refused (into dead-letters), or the group"
                    f" {group} has read its decision into another database"
                )
    finally:
        await consumer.stop()


def _stored(database: sqlite3.Connection, event_id: str | None) -> bool:
    return database.execute("SELECT 1 FROM decisions WHERE event_id = ?", (event_id,)).fetchone() is not None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("database", help="an SQLite file; made where there is none")
    parser.add_argument("--group", default="kit-python", help="consumers with the same name share the partitions")
    parser.add_argument("--until", metavar="EVENT_ID", help="end once this event's decision is stored")
    given = parser.parse_args()
    try:
        asyncio.run(consume(opened(given.database), given.group, given.until))
    except TimeoutError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
