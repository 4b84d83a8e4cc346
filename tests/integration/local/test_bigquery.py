from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from google.api_core import exceptions

from tests.integration.local.emulator import Emulator, emulator, rows

OK, ALREADY_EXISTS = 0, 6
BATCH = 50
KILLS = 3
WRITERS = 4


def append_until_cut(it: Emulator, stream: str, first: int, seen: list[int], writer: int) -> int:
    """Appends batches of `BATCH` rows from `first` on; the offset behind the last acknowledged one."""
    offset = first
    try:
        with it.appender(stream) as appender:
            while True:
                batch = rows(*range(offset, offset + BATCH))
                code = appender.append(batch, offset).error.code
                assert code in (OK, ALREADY_EXISTS)  # the one that was under way at the kill
                offset += BATCH
                seen[writer] += 1
    except exceptions.GoogleAPICallError:
        return offset


def test_nothing_is_lost_or_doubled_by_kills_while_four_writers_append(tmp_path: Path) -> None:
    with emulator(tmp_path, held=False) as it:
        table = it.new_table()
        streams = [it.new_stream(table) for _ in range(WRITERS)]
        acknowledged = [0] * WRITERS
        for _ in range(KILLS):
            seen = [0] * WRITERS
            with ThreadPoolExecutor(WRITERS) as pool:
                writing = [
                    pool.submit(append_until_cut, it, stream, acknowledged[writer], seen, writer)
                    for writer, stream in enumerate(streams)
                ]
                it.process.wait_until(lambda seen=seen: min(seen) >= 5, 60)  # type: ignore[misc]
                it.process.kill()
                acknowledged = [each.result() for each in writing]
            it.part.start()
            it.connect()
        numbers = it.numbers(table)
    # Each writer has written 0 … its last; a batch under way may be there without its answer, whole.
    assert len(numbers) % BATCH == 0
    counts = [numbers.count(number) for number in range(0, max(acknowledged) + BATCH, BATCH)]
    for number, count in zip(range(0, max(acknowledged) + BATCH, BATCH), counts, strict=True):
        sure = sum(number < end for end in acknowledged)
        possible = sum(number <= end for end in acknowledged)
        assert sure <= count <= possible


def test_a_stop_ends_it_though_connections_are_open(tmp_path: Path) -> None:
    with emulator(tmp_path, held=False) as it:
        table = it.new_table()
        with it.appender(it.new_stream(table)) as appender:
            assert appender.append(rows(1), 0).error.code == OK
            it.part.stop()
        assert not it.process.running
        it.part.start()
        assert it.numbers(table) == [1]


def test_datasets_and_tables_survive_a_restart(tmp_path: Path) -> None:
    with emulator(tmp_path, held=False) as it:
        table = it.new_table()
        it.rest.insert_rows_json(table, rows(1, 2), timeout=30)
        it.part.restart()
        assert it.rest.get_table(table, timeout=30).schema == table.schema
        assert it.numbers(table) == [1, 2]
