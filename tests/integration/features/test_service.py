"""The service on a real Kafka and a real Valkey."""

from __future__ import annotations

import asyncio
import signal
from collections import Counter

import pytest
from aiokafka import AIOKafkaProducer

from shared.contracts.identity import partition_of
from shared.contracts.topics import OUTCOMES, TRANSACTIONS
from shared.feature_state import Move, Position
from shared.kafka.producer import OutgoingRecord
from tests import factories
from tests.integration.features.conftest import PARTITIONS, Rig, until
from tests.integration.features.streams import START_US, mixed, outcome, poison, purchase, recomputed, replayed_states


async def test_purchases_become_vectors_and_outcomes_their_past(rig: Rig) -> None:
    features = await rig.start_ready()
    await rig.send([purchase(0), purchase(1)])
    await until(rig.has_caught_up)
    await rig.send([outcome(0, defaulted=True)])
    await until(rig.has_caught_up)
    await rig.send([purchase(2, t_us=START_US + 20 * factories.DAY_US)])
    await until(rig.has_caught_up)
    first, second, third = await rig.vectors()
    assert [vector["features"]["purchases_30d"] for vector in (first, second, third)] == [0, 1, 2]
    assert [vector["features"]["defaults_known"] for vector in (first, second, third)] == [0, 0, 1]
    assert third["as_of"] == {"transactions": 1, "outcomes": 0}
    home = partition_of(b"cust_000000", PARTITIONS)
    assert (await rig.positions())[home] == Position(2, 0)
    assert await features.metric('flit_events_total{result="ok",service="features",topic="bnpl-transactions"}') == 3


@pytest.mark.slow
async def test_after_a_kill_in_the_middle_nothing_is_lost_and_nothing_is_counted_twice(rig: Rig) -> None:
    records = mixed(3000)
    features = await rig.start_ready(FEATURES__MAX_BATCH="40")
    sending = asyncio.create_task(rig.send(records))
    for part in (1, 2, 3):

        async def has_moved(wanted: int = part * 400) -> bool:
            return sum(position.transactions for position in (await rig.positions()).values()) > wanted

        await until(has_moved)
        features.kill()
        await features.exit_code()
        features = await rig.start(FEATURES__MAX_BATCH="40")
    await sending
    await until(rig.has_caught_up)

    transactions, outcomes = await rig.records(TRANSACTIONS.name), await rig.records(OUTCOMES.name)
    assert await rig.states() == replayed_states(transactions, outcomes)
    vectors = await rig.vectors()
    assert {vector["event_id"] for vector in vectors} == {f"event-{number}" for number in range(3000)}
    # Some come twice after a kill, perhaps with more outcomes known by then: each is right as of what it says.
    assert [vector["features"] for vector in vectors] == recomputed(vectors, transactions, outcomes)
    letters = {
        (letter["topic"], letter["partition"], letter["offset"]): letter["reason"] for letter in await rig.letters()
    }
    refused = {place for place, reason in letters.items() if reason == "conflict"}
    assert Counter(letters.values()).keys() == {"conflict", "utf8"}
    noted = {
        (TRANSACTIONS.name, number, offset)
        for number in range(PARTITIONS)
        for offset in await rig.store.refused_between(number, 0, 1 << 40)
    }
    assert noted == refused
    assert await features.terminate() == 0


async def test_poison_in_the_middle_of_a_batch_gets_one_letter_and_touches_no_neighbour(rig: Rig) -> None:
    await rig.send([*(purchase(n) for n in range(10)), poison(), *(purchase(n) for n in range(10, 20))])
    await rig.start_ready()
    await until(rig.has_caught_up)
    vectors = await rig.vectors()
    assert [vector["event_id"] for vector in vectors] == [f"event-{n}" for n in range(20)]
    assert [vector["features"]["purchases_30d"] for vector in vectors] == list(range(20))
    (letter,) = await rig.letters()
    assert (letter["reason"], letter["service"], letter["offset"]) == ("utf8", "features", 10)


async def test_a_record_in_a_wrong_partition_is_moved_to_its_own_and_decided_there(rig: Rig) -> None:
    home = partition_of(b"cust_000000", PARTITIONS)
    wrong = (home + 1) % PARTITIONS
    misplaced = purchase(0)
    await rig.send([OutgoingRecord(misplaced.topic, misplaced.key, misplaced.value, [("ce_id", b"event-0")], wrong)])
    features = await rig.start_ready()

    async def arrived() -> bool:
        return await rig.has_caught_up() and len(await rig.vectors()) == 1

    await until(arrived)
    lying, moved = sorted(await rig.records(TRANSACTIONS.name), key=lambda record: record.partition != wrong)
    assert (lying.partition, moved.partition) == (wrong, home)
    assert (moved.key, moved.value, moved.timestamp) == (lying.key, lying.value, lying.timestamp)
    assert dict(moved.headers) == {"ce_id": b"event-0", "rerouted": f"bnpl-transactions-{wrong}-0".encode()}
    (vector,) = await rig.vectors()
    assert vector["as_of"] == {"transactions": -1, "outcomes": -1}
    assert await rig.letters() == []
    assert await features.metric('flit_input_warnings_total{rule="partition",service="features"}') == 1


async def test_where_redis_lost_its_last_writes_the_log_is_read_again_from_there_without_a_second_vector(
    rig: Rig,
) -> None:
    home = partition_of(b"cust_000000", PARTITIONS)
    features = await rig.start_ready()
    await rig.send([purchase(n) for n in range(5)])
    await until(rig.has_caught_up)
    early = await rig.store._redis.dump(f"{{p{home}}}:c:cust_000000")
    await rig.send([purchase(n) for n in range(5, 12)])
    await until(rig.has_caught_up)
    assert await features.terminate() == 0
    assert (await rig.committed())[TRANSACTIONS.name, home] == 12

    await rig.store._redis.restore(f"{{p{home}}}:c:cust_000000", 0, early, replace=True)  # type: ignore[arg-type]
    await rig.store._redis.set(f"{{p{home}}}:pos", str(Position(4, -1)))
    again = await rig.start_ready()
    await until(rig.has_caught_up)
    (line,) = again.events("states_went_back")
    assert (line["partition"], line["after"], line["up_to"]) == (home, "4,-1", "11,-1")
    assert await rig.states() == replayed_states(await rig.records(TRANSACTIONS.name), [])
    assert [vector["event_id"] for vector in await rig.vectors()] == [f"event-{n}" for n in range(12)]


async def test_states_of_another_log_are_refused_in_one_line(rig: Rig) -> None:
    await rig.store._redis.set("{p1}:pos", str(Position(99, -1)))
    features = await rig.start()
    assert await features.exit_code() == 1
    (line,) = features.events("gave_up")
    assert (line["because"], "bnpl-transactions-1" in line["error"]) == ("PositionBeyondLog", True)


async def test_another_partition_count_is_refused_in_one_line(rig: Rig) -> None:
    await rig.store.check_partitions(PARTITIONS + 1)
    features = await rig.start()
    assert await features.exit_code() == 1
    (line,) = features.events("gave_up")
    assert line["because"] == "PartitionCountMismatch"


async def test_a_writer_whose_partition_moved_on_ends_with_one_line(rig: Rig) -> None:
    home = partition_of(b"cust_000000", PARTITIONS)
    features = await rig.start_ready()
    await rig.store.commit([Move(home, Position(), Position(-1, 5))])
    await rig.send([purchase(0)])
    assert await features.exit_code() == 1
    (line,) = features.events("gave_up")
    assert line["because"] == "FencedOff"
    assert await rig.states() == {}


async def test_a_stop_signal_under_load_leaves_committed_offsets_at_the_position(rig: Rig) -> None:
    records = mixed(2000, seed=2)
    features = await rig.start_ready(FEATURES__MAX_BATCH="50")
    sending = asyncio.create_task(rig.send(records))

    async def has_moved() -> bool:
        return sum(position.transactions for position in (await rig.positions()).values()) > 200

    await until(has_moved)
    assert await features.terminate(10) == 0
    await sending
    committed, positions = await rig.committed(), await rig.positions()
    for (topic, partition), offset in committed.items():
        position = positions[partition]
        done = position.transactions if topic == TRANSACTIONS.name else position.outcomes
        assert offset in (done + 1, 0), (topic, partition, offset, position)
    assert await rig.states() != {}
    assert features.events("stopped")


async def test_three_processes_share_the_partitions_and_keep_both_topics_of_each_together(rig: Rig) -> None:
    first = await rig.start_ready()
    await rig.send(mixed(500, seed=3))
    second, third = await rig.start_ready(), await rig.start_ready()
    await rig.send(mixed(500, seed=4))
    await until(rig.has_caught_up)

    async def shared_out() -> bool:
        return all([await features.is_ready() for features in (first, second, third)])

    await until(shared_out)
    owned = [set(features.events("assigned")[-1]["offsets"]) for features in (first, second, third)]
    assert set().union(*owned) == {f"{topic}-{n}" for topic in ("bnpl-transactions", OUTCOMES.name) for n in range(4)}
    for partitions in owned:
        assert {name[-1] for name in partitions if "outcomes" in name} == {
            name[-1] for name in partitions if "transactions" in name
        }
    assert await first.terminate() == 0
    await rig.send(mixed(500, seed=5))
    await until(rig.has_caught_up)
    assert await rig.states() == replayed_states(await rig.records(TRANSACTIONS.name), await rig.records(OUTCOMES.name))
    assert not any(features.events("gave_up") for features in (first, second, third))


async def test_one_process_more_than_there_are_partitions_waits_for_its_turn(rig: Rig) -> None:
    processes = [await rig.start(KAFKA__STALL_SECONDS="45") for _ in range(PARTITIONS + 1)]

    async def all_ready() -> bool:
        return all([await features.is_ready() for features in processes])

    await until(all_ready)
    shares = [set(features.events("assigned")[-1]["offsets"]) for features in processes]
    assert sorted(len(share) for share in shares) == [0, 2, 2, 2, 2]
    busy = next(features for features, share in zip(processes, shares, strict=True) if share)
    await rig.send(mixed(200, seed=6))
    await until(rig.has_caught_up)
    processes.remove(busy)
    assert await busy.terminate() == 0
    await until(all_ready)
    await rig.send(mixed(200, seed=7))
    await until(rig.has_caught_up)
    assert not any(features.events("gave_up") for features in processes)


async def test_an_idempotent_outside_producer_s_transactions_leave_no_hole(rig: Rig) -> None:
    """Their markers take offsets and are no records."""
    features = await rig.start_ready()
    async with AIOKafkaProducer(
        bootstrap_servers=rig.settings.bootstrap_servers, transactional_id="outside"
    ) as producer:
        for number in range(3):
            async with producer.transaction():
                record = purchase(number)
                await producer.send(record.topic, record.value, key=record.key)

    async def arrived() -> bool:
        return len(await rig.vectors()) == 3

    await until(arrived)
    assert await features.terminate() == 0


async def test_while_redis_or_kafka_is_away_the_service_waits_and_then_goes_on(rig: Rig) -> None:
    features = await rig.start_ready()
    await rig.send([purchase(0)])
    await until(rig.has_caught_up)

    rig.valkey.kill()
    await rig.send([purchase(1), purchase(2)])
    await until(features.is_waiting)
    rig.valkey.start()
    await until(rig.has_caught_up)

    rig.kafka.kill()
    rig.kafka.start()
    await rig.send([purchase(3)])
    await until(rig.has_caught_up)
    assert features.process.returncode is None
    assert sorted({vector["event_id"] for vector in await rig.vectors()}) == [f"event-{n}" for n in range(4)]
    assert await rig.states() == replayed_states(await rig.records(TRANSACTIONS.name), [])


async def test_a_stop_signal_is_obeyed_while_redis_is_away(rig: Rig) -> None:
    features = await rig.start_ready()
    rig.valkey.kill()
    try:
        await rig.send([purchase(0)])
        await until(features.is_waiting)
        assert await features.terminate(10) == 0
    finally:
        rig.valkey.start()
    assert await rig.positions() == dict.fromkeys(range(PARTITIONS), Position())


async def test_a_stop_signal_is_obeyed_while_kafka_does_not_answer(rig: Rig) -> None:
    features = await rig.start_ready()
    await rig.send([purchase(0)])
    await until(rig.has_caught_up)
    rig.kafka.pause()
    try:
        assert await features.terminate(20) == 0
    finally:
        rig.kafka.resume()


@pytest.mark.slow
async def test_a_process_that_slept_through_its_session_does_no_harm_when_it_wakes(rig: Rig) -> None:
    """A zombie: its partitions went to another, which has moved on."""
    zombie = await rig.start_ready(FEATURES__MAX_BATCH="20")
    sending = asyncio.create_task(rig.send(mixed(2000, seed=6)))

    async def has_moved() -> bool:
        return sum(position.transactions for position in (await rig.positions()).values()) > 100

    await until(has_moved)
    zombie.process.send_signal(signal.SIGSTOP)
    heir = await rig.start_ready()
    await sending
    await until(rig.has_caught_up)
    zombie.process.send_signal(signal.SIGCONT)

    async def has_come_round() -> bool:
        """Either it found itself fenced off and ended, or it is an ordinary member again."""
        return zombie.process.returncode is not None or await zombie.is_ready()

    await until(has_come_round)
    await rig.send(mixed(300, seed=7))
    await until(rig.has_caught_up)
    transactions, outcomes = await rig.records(TRANSACTIONS.name), await rig.records(OUTCOMES.name)
    assert await rig.states() == replayed_states(transactions, outcomes)
    vectors = await rig.vectors()
    assert [vector["features"] for vector in vectors] == recomputed(vectors, transactions, outcomes)
    assert heir.process.returncode is None
