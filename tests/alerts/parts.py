"""Faults of services, of the parts that they stand on, and of what comes in."""

from __future__ import annotations

import asyncio
import json
import time

import redis
from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete

from deploy.local.services import status_of
from deploy.monitoring.alerts import AUDIT_HOURS, REDIS_SHARE
from shared.contracts.identity import partition_of
from shared.contracts.topics import TRANSACTIONS
from shared.warehouse import tables
from shared.warehouse.clients import bigquery_client
from tests import factories
from tests.alerts.floor import START_S, Floor, now, refusing

BEHIND = 8_000
"""Records that a service doesn't get to; more than the alert's 5,000."""
REFUSED_AT_ONCE, REFUSED_TIMES = 400, 6
SEEN_S = 1.5
"""Prometheus looks each second."""
HOP_S = 0.2
"""More for each piece that goes to a broker or comes from it; a hop is several of them."""
STANDS_S, WORKS_S = 12.0, 1.5
"""The warehouse, in turns: rows are late from ten seconds on, and the sink waits for fifteen."""
NEARLY = 0.05
"""Beyond what the alert allows; as much again is left for what comes meanwhile."""
EXPIRED, LACKING = 20, 5
"""So many records of a partition are no longer in the log; that with this offset isn't in the warehouse either."""


async def service_hangs(floor: Floor) -> None:
    process = floor.world.process("sink")
    process.pause()
    try:
        await floor.fires("ServiceDown")
    finally:
        process.resume()


async def service_dies_again_and_again(floor: Floor) -> None:
    """The simulator, which needs nobody and is there soonest."""
    port = floor.world.system.supervisor.service("simulator").metrics_port
    fires = asyncio.create_task(floor.fires("ServiceRestarts", patience_s=180))
    try:
        while not fires.done():
            await floor.world.killed("simulator")
            await floor.world.until(lambda: status_of(port, "/live") == 200, "its metrics", START_S)
            await asyncio.sleep(SEEN_S)
        await fires
    finally:
        fires.cancel()


async def redis_hangs_while_purchases_come(floor: Floor) -> None:
    valkey = floor.world.system.stack.valkey
    valkey.pause()
    try:
        records = await asyncio.to_thread(floor.world.purchases, f"behind-{now():.0f}", BEHIND)
        await floor.world.produce(TRANSACTIONS.name, records)
        await floor.fires("ConsumerLag", "StreamStalled")
    finally:
        valkey.resume()


async def redis_is_nearly_full(floor: Floor) -> None:
    client = redis.Redis.from_url(floor.world.system.stack.valkey.url)
    before = client.config_get("maxmemory")["maxmemory"] or 0
    client.config_set("maxmemory", int(client.info("memory")["used_memory"] / (REDIS_SHARE + NEARLY)))
    try:
        await floor.fires("RedisFull")
    finally:
        client.config_set("maxmemory", before)
        client.close()


async def brokers_are_slow(floor: Floor) -> None:
    floor.world.kafka_link.delay_s = HOP_S
    try:
        await floor.fires("CheckoutSlow", "DecisionsLate", "FeaturesStale")
    finally:
        floor.world.kafka_link.heal()


async def brokers_are_away(floor: Floor) -> None:
    with refusing(floor.world.kafka_link):
        await floor.fires("CheckoutFails", "NothingIngested")


async def source_is_away(floor: Floor) -> None:
    with refusing(floor.world.source_link):
        await floor.fires("SourceAway")


async def source_sends_what_is_refused(floor: Floor) -> None:
    """As many of its lines as would be if it had lost its senses: whatever costs more than one dollar."""
    with floor.running_with("ingestor", LIMITS__MAX_AMOUNT="1"):
        await floor.fires("SourceStopped", patience_s=START_S + 60)


async def producer_sends_what_is_refused(floor: Floor) -> None:
    """More than half of what comes, and again after each halt."""
    wanted = asyncio.create_task(floor.fires("RecordsRefused", "TopicHalted", patience_s=180))
    try:
        for turn in range(REFUSED_TIMES):
            bad = floor.world.purchases(f"refused-{now():.0f}-{turn}", REFUSED_AT_ONCE, amount=-1)
            await floor.world.produce(TRANSACTIONS.name, bad)
            done, _ = await asyncio.wait([wanted], timeout=SEEN_S)
            if done:
                break
        await wanted
    finally:
        wanted.cancel()


async def warehouse_refuses_appends(floor: Floor) -> None:
    floor.world.warehouse_trouble.write_text("1.0")
    try:
        await floor.fires("SinkWaits", "SinkWritesNothing")
    finally:
        floor.world.warehouse_trouble.unlink()


async def warehouse_stands_again_and_again(floor: Floor) -> None:
    warehouse, fires = floor.world.system.stack.bigquery, asyncio.create_task(floor.fires("RowsLate", patience_s=300))
    try:
        while not fires.done():
            warehouse.pause()
            await asyncio.sleep(STANDS_S)
            warehouse.resume()
            await asyncio.sleep(WORKS_S)
        await fires
    finally:
        warehouse.resume()
        fires.cancel()


async def row_is_deleted(floor: Floor) -> None:
    """By somebody's hand; the sink's own repair writes it anew."""
    client = bigquery_client(floor.world.system.stack.bigquery.settings)
    table = f"`{client.project}.{tables.TRANSACTIONS.id}`"
    day = f"{tables.TRANSACTIONS.partition_by} > '2000-01-01'"
    (one,) = client.query(f"SELECT event_id FROM {table} WHERE {day} ORDER BY event_id LIMIT 1").result()
    await floor.audited()
    client.query(f"DELETE FROM {table} WHERE {day} AND event_id = '{one['event_id']}'").result()
    await floor.fires("LedgerUnbalanced", patience_s=START_S + 120)
    await asyncio.to_thread(floor.command("services.sink", "repair").run, START_S)
    await floor.clears("LedgerUnbalanced", since=now(), patience_s=START_S)


async def state_is_lost_unseen(floor: Floor) -> None:
    """One customer's, whose next purchase is decided as if it were the first. The audits end here: what was decided
    so stays decided."""
    customer, world = f"forgotten-{now():.0f}", floor.world

    async def buys(number: int) -> None:
        body = factories.transaction(
            number, t_us=int(time.time() * 1e6), event_id=f"{customer}-{number}", customer_id=customer
        )
        await world.produce(TRANSACTIONS.name, [(customer.encode(), json.dumps(body).encode())])

    await floor.audited()
    await buys(1)
    with redis.Redis.from_url(world.system.stack.valkey.url) as client:
        key = f"{{p{partition_of(customer.encode(), world.system.kafka.partitions)}}}:c:{customer}"
        await world.until(lambda: bool(client.exists(key)), "the customer's state")
        client.delete(key)
    await buys(2)
    await floor.fires("FeaturesMismatch", patience_s=START_S + 120)
    await asyncio.to_thread(floor.ledger.process.stop)


async def audits_end(floor: Floor) -> None:
    """For longer than a day, as the rules count here. In a run of all faults they have ended some faults ago."""
    if not floor.prometheus.query("max_over_time(flit_ledger_last_audit_timestamp_seconds[1h]) > 0"):
        await floor.audited()
        await asyncio.to_thread(floor.ledger.process.stop)
    await floor.fires("LedgerSilent", patience_s=floor.scaled(AUDIT_HOURS * 3600) + 120)
    floor.ledger.process.start()


async def records_are_gone(floor: Floor) -> None:
    """From the log by retention, from the warehouse by a hand; then Redis loses the states that they were in."""
    system, partition = floor.world.system, 0
    client = bigquery_client(system.stack.bigquery.settings)
    table = f"`{client.project}.{tables.TRANSACTIONS.id}`"
    where = f"{tables.TRANSACTIONS.partition_by} > '2000-01-01' AND kafka_partition = {partition}"

    def written() -> bool:
        (row,) = client.query(f"SELECT MAX(kafka_offset) AS latest FROM {table} WHERE {where}").result()
        return (row["latest"] or 0) >= EXPIRED

    await floor.world.until(written, f"{EXPIRED} rows of a partition")
    client.query(f"DELETE FROM {table} WHERE {where} AND kafka_offset = {LACKING}").result()
    admin = AIOKafkaAdminClient(bootstrap_servers=system.stack.kafka.bootstrap_servers)
    await admin.start()
    try:
        place = TopicPartition(TRANSACTIONS.name, partition)
        await admin.delete_records({place: RecordsToDelete(EXPIRED)})
    finally:
        await admin.close()
    with redis.Redis.from_url(system.stack.valkey.url) as states:
        states.flushall()

    def whole() -> bool:
        found = floor.world.metrics("features")
        rebuilding = [value for name, value in found.items() if name.startswith("flit_features_rebuilding{")]
        return bool(rebuilding) and not any(rebuilding)

    try:
        await floor.fires("RebuildGaps", "StatesRebuilding", patience_s=START_S + 60)
    finally:
        # Started once more after it, with states in Redis: nothing to rebuild, and no gap to tell of.
        with floor.running_with("features", FEATURES__REBUILD_GAPS="accept"):
            await floor.world.until(whole, "states that are whole", START_S)
