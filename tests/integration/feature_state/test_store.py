"""State and position against a real Valkey."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator

import pytest
import redis.asyncio

from shared.feature_state import (
    EMPTY,
    FeatureStateStore,
    FencedOff,
    Move,
    PartitionCountMismatch,
    Position,
    PseudonymMismatch,
    StatesLost,
)
from shared.feature_state import store as store_module
from shared.kafka.errors import TransientError

PARTITION = 3


@pytest.fixture
async def store(redis_url: str) -> AsyncIterator[FeatureStateStore]:
    client = redis.asyncio.Redis.from_url(own_database(redis_url))
    await client.flushdb()
    store = FeatureStateStore(client)
    for partition in (PARTITION, PARTITION + 1, 7):
        await store.begin(partition, EMPTY)
    yield store
    await store.close()


def own_database(redis_url: str) -> str:
    """A database that no other test writes to."""
    return redis_url.rsplit("/", 1)[0] + "/7"


async def lose_position(redis_url: str) -> None:
    client = redis.asyncio.Redis.from_url(own_database(redis_url))
    await client.delete(f"{{p{PARTITION}}}:pos")
    await client.aclose()


@pytest.fixture
def silent_server() -> Iterator[str]:
    """Accepts connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield f"redis://127.0.0.1:{listener.getsockname()[1]}/0"


async def read(store: FeatureStateStore, partition: int, customer: str) -> tuple[bytes | None, Position | None]:
    (found,) = await store.read_for_requests([(partition, customer)])
    return found


async def test_states_and_position_are_written_together(store: FeatureStateStore) -> None:
    await store.commit([Move(PARTITION, Position(), Position(10, -1), {"a": b"A", "b": b"B"}, [])])
    assert await store.read_states(
        {PARTITION: ["a", "b", "c"], 7: ["a"], 8: []}, {PARTITION: Position(10, -1), 7: Position()}
    ) == {
        PARTITION: {"a": b"A", "b": b"B", "c": None},
        7: {"a": None},
    }
    assert await store.position(PARTITION) == Position(10, -1)


async def test_a_writer_that_was_overtaken_changes_nothing(store: FeatureStateStore) -> None:
    await store.commit([Move(PARTITION, Position(), Position(10, -1), {"a": b"new"}, [])])
    with pytest.raises(FencedOff):
        await store.commit([Move(PARTITION, Position(), Position(5, -1), {"a": b"stale", "z": b"stale"}, [4])])
    assert await store.read_states({PARTITION: ["a", "z"]}, {PARTITION: Position(10, -1)}) == {
        PARTITION: {"a": b"new", "z": None}
    }
    assert await store.refused_between(PARTITION, 0, 100) == set()


async def test_refused_offsets_are_found_by_range(store: FeatureStateStore) -> None:
    await store.commit([Move(PARTITION, Position(), Position(10, -1), {}, [3, 7])])
    await store.commit([Move(PARTITION, Position(10, -1), Position(20, -1), {}, [12])])
    assert await store.refused_between(PARTITION, 4, 12) == {7, 12}


async def test_a_request_sees_state_and_position_of_one_moment(store: FeatureStateStore) -> None:
    await store.commit([Move(PARTITION, Position(), Position(10, 4), {"a": b"A"}, [])])
    assert await read(store, PARTITION, "a") == (b"A", Position(10, 4))
    assert await read(store, PARTITION, "unknown") == (None, Position(10, 4))


async def test_partitions_do_not_share_anything(store: FeatureStateStore) -> None:
    await store.commit([Move(PARTITION, Position(), Position(10, 4), {"a": b"A"}, [])])
    assert await read(store, PARTITION + 1, "a") == (None, Position())


async def test_another_partition_count_is_refused(store: FeatureStateStore) -> None:
    await store.check_partitions(4)
    await store.check_partitions(4)
    with pytest.raises(PartitionCountMismatch):
        await store.check_partitions(8)


async def test_states_made_with_another_pseudonym_key_or_without_one_are_refused(
    store: FeatureStateStore, redis_url: str
) -> None:
    named, other = (
        FeatureStateStore.connect(own_database(redis_url), pseudonyms=mark) for mark in ("one key", "another")
    )
    try:
        await named.check_partitions(4)
        await named.check_partitions(4)
        for wrong in (store, other):
            with pytest.raises(PseudonymMismatch):
                await wrong.check_partitions(4)
    finally:
        await named.close()
        await other.close()


async def test_pseudonyms_are_not_switched_on_over_states_without_any(store: FeatureStateStore, redis_url: str) -> None:
    await store.check_partitions(4)
    named = FeatureStateStore.connect(own_database(redis_url), pseudonyms="one key")
    try:
        with pytest.raises(PseudonymMismatch):
            await named.check_partitions(4)
    finally:
        await named.close()


async def test_a_server_that_is_away_is_a_transient_error() -> None:
    store = FeatureStateStore.connect("redis://127.0.0.1:1/0", timeout_s=0.2)
    with pytest.raises(TransientError):
        await store.position(0)
    await store.close()


async def test_a_server_that_does_not_answer_is_a_transient_error(silent_server: str) -> None:
    store = FeatureStateStore.connect(silent_server, timeout_s=0.1)
    with pytest.raises(TransientError):
        await store.position(0)
    await store.close()


async def test_a_connection_closed_from_the_other_side_is_not_noticed_by_the_caller(
    store: FeatureStateStore, redis_url: str
) -> None:
    used = FeatureStateStore.connect(own_database(redis_url))
    await used.position(PARTITION)
    operator = redis.asyncio.Redis.from_url(redis_url)
    await operator.client_kill_filter(_type="normal", skipme=True)
    assert await used.position(PARTITION) == Position()
    await operator.aclose()
    await used.close()


async def test_a_write_that_is_repeated_since_its_answer_was_lost_is_done_once(store: FeatureStateStore) -> None:
    for _ in range(2):
        await store.commit([Move(PARTITION, Position(), Position(10, -1), {"a": b"A"}, [7])])
    assert await read(store, PARTITION, "a") == (b"A", Position(10, -1))
    assert await store.refused_between(PARTITION, 0, 100) == {7}


async def test_a_late_repeat_does_not_bring_an_old_state_back(store: FeatureStateStore) -> None:
    await store.commit([Move(PARTITION, Position(), Position(10, -1), {"a": b"old"})])
    await store.commit([Move(PARTITION, Position(10, -1), Position(20, -1), {"a": b"new"})])
    with pytest.raises(FencedOff):
        await store.commit([Move(PARTITION, Position(), Position(10, -1), {"a": b"old"})])
    assert await read(store, PARTITION, "a") == (b"new", Position(20, -1))


async def test_of_two_writers_from_the_same_position_one_wins_whole(store: FeatureStateStore) -> None:
    def write(end: int, mark: bytes) -> asyncio.Task[None]:
        states = {f"c{number}": mark for number in range(200)}
        return asyncio.ensure_future(store.commit([Move(PARTITION, Position(), Position(end, -1), states)]))

    results = await asyncio.gather(*(write(n, b"%d" % n) for n in range(1, 9)), return_exceptions=True)
    assert [type(result) for result in results].count(FencedOff) == 7
    winner = (await store.position(PARTITION)).transactions
    states = (
        await store.read_states({PARTITION: [f"c{number}" for number in range(200)]}, {PARTITION: Position(winner, -1)})
    )[PARTITION]
    assert set(states.values()) == {b"%d" % winner}


async def test_each_partition_of_a_write_moves_for_itself(store: FeatureStateStore) -> None:
    other = PARTITION + 1
    await store.commit([Move(other, Position(), Position(3, -1))])
    with pytest.raises(FencedOff, match=f"partition {other} is at 3,-1"):
        await store.commit(
            [
                Move(other, Position(), Position(10, -1), {"b": b"B"}),
                Move(PARTITION, Position(), Position(10, -1), {"a": b"A"}),
            ]
        )
    assert await read(store, PARTITION, "a") == (b"A", Position(10, -1))
    assert await read(store, other, "b") == (None, Position(3, -1))


async def test_a_server_that_forgot_the_script_is_told_again(store: FeatureStateStore, redis_url: str) -> None:
    await store.commit([Move(PARTITION, Position(), Position(1, -1))])
    operator = redis.asyncio.Redis.from_url(redis_url)
    await operator.script_flush()
    await operator.aclose()
    await store.commit([Move(PARTITION, Position(1, -1), Position(2, -1), {"a": b"A"})])
    assert await read(store, PARTITION, "a") == (b"A", Position(2, -1))


async def test_a_reader_never_sees_a_state_without_its_position(store: FeatureStateStore) -> None:
    async def write() -> None:
        for number in range(300):
            await store.commit([Move(PARTITION, Position(number - 1, -1), Position(number, -1), {"a": b"%d" % number})])

    writing = asyncio.create_task(write())
    seen = set()
    while not writing.done():
        state, position = await read(store, PARTITION, "a")
        assert (state or b"-1") == b"%d" % (position or EMPTY).transactions
        seen.add(position)
    await writing
    assert len(seen) > 10


async def test_only_the_latest_refusals_are_kept(store: FeatureStateStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_module, "KEPT_REFUSALS", 3)
    await store.commit([Move(PARTITION, Position(), Position(10, -1), {}, [1, 2, 3])])
    await store.commit([Move(PARTITION, Position(10, -1), Position(20, -1), {}, [11, 12])])
    assert await store.refused_between(PARTITION, 0, 100) == {3, 11, 12}


async def test_everything_of_a_partition_lies_in_one_hash_slot(store: FeatureStateStore, redis_url: str) -> None:
    await lose_position(redis_url)
    await store.begin(PARTITION, Position(20, -1))
    await store.commit([Move(PARTITION, Position(), Position(10, -1), {"a": b"A", "{b}": b"B"}, [4])])
    client = redis.asyncio.Redis.from_url(own_database(redis_url))
    keys = await client.keys("*{p3}*")
    await client.aclose()
    assert len(keys) == 5
    assert {bytes(key)[:5] for key in keys} == {b"{p3}:"}  # type: ignore[arg-type]


def test_a_position_survives_being_stored() -> None:
    assert Position.parse(str(Position(12, -1))) == Position(12, -1)
    assert Position.parse(None) == Position(-1, -1)


async def test_what_lost_its_position_is_neither_read_nor_written(store: FeatureStateStore, redis_url: str) -> None:
    await store.commit([Move(PARTITION, Position(), Position(10, -1), {"a": b"A"})])
    await lose_position(redis_url)
    with pytest.raises(StatesLost):
        await store.read_states({PARTITION: ["a"]}, {PARTITION: Position(10, -1)})
    with pytest.raises(StatesLost):
        await store.commit([Move(PARTITION, Position(), Position(1, -1))])
    assert await read(store, PARTITION, "a") == (None, None)


async def test_states_of_another_position_are_not_given(store: FeatureStateStore) -> None:
    await store.commit([Move(PARTITION, Position(), Position(10, -1), {"a": b"A"})])
    with pytest.raises(FencedOff):
        await store.read_states({PARTITION: ["a"]}, {PARTITION: Position(9, -1)})


async def test_a_rebuild_begins_over_nothing_and_ends_with_its_target(store: FeatureStateStore, redis_url: str) -> None:
    states = {f"c{number}": b"old" for number in range(1200)}
    await store.commit([Move(PARTITION, Position(), Position(10, 3), states, [7])])
    await lose_position(redis_url)
    await store.begin(PARTITION, Position(10, 3))
    assert set((await store.read_states({PARTITION: list(states)}, {PARTITION: EMPTY}))[PARTITION].values()) == {None}
    assert await store.refused_between(PARTITION, 0, 10) == set()
    await store.commit([Move(PARTITION, EMPTY, Position(10, -1), {"c1": b"new"})])
    assert await read(store, PARTITION, "c1") == (None, None)
    await store.commit([Move(PARTITION, Position(10, -1), Position(10, 3))])
    assert await read(store, PARTITION, "c1") == (b"new", Position(10, 3))


async def test_of_two_who_begin_a_rebuild_the_second_takes_nothing_away(store: FeatureStateStore) -> None:
    await store.commit([Move(PARTITION, Position(), Position(10, -1), {"a": b"A"})])
    with pytest.raises(FencedOff):
        await store.begin(PARTITION, Position(10, -1))
    assert await read(store, PARTITION, "a") == (b"A", Position(10, -1))


async def test_states_of_an_earlier_time_are_a_loss_and_no_rival(store: FeatureStateStore) -> None:
    await store.commit([Move(PARTITION, Position(), Position(10, 3), {"a": b"A"}, [])])
    for believed in (Position(10, 4), Position(12, 3), Position(11, 5)):
        with pytest.raises(StatesLost, match="went back"):
            await store.commit([Move(PARTITION, believed, Position(20, 20))])
        with pytest.raises(StatesLost, match="went back"):
            await store.read_states({PARTITION: ["a"]}, {PARTITION: believed})
    with pytest.raises(FencedOff):
        await store.commit([Move(PARTITION, Position(9, 5), Position(20, 20))])


async def test_a_partition_that_fell_behind_is_whole_again_once_it_has_caught_up(store: FeatureStateStore) -> None:
    await store.commit([Move(PARTITION, Position(), Position(10, 3), {"a": b"A"}, [])])
    assert not await store.fall_behind(PARTITION, Position(9, 3), Position(12, 4))
    assert (await store.standing(PARTITION)).whole
    assert await store.fall_behind(PARTITION, Position(10, 3), Position(12, 4))
    assert await read(store, PARTITION, "a") == (None, None)
    await store.commit([Move(PARTITION, Position(10, 3), Position(12, 3), {"a": b"B"}, [])])
    assert not (await store.standing(PARTITION)).whole
    await store.commit([Move(PARTITION, Position(12, 3), Position(12, 4))])
    assert await read(store, PARTITION, "a") == (b"B", Position(12, 4))
