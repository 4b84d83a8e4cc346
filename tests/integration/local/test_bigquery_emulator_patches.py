"""Each defect of the emulator: shown where its patch is left out, and gone where it isn't."""

from __future__ import annotations

import io
import itertools
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import duckdb
import grpc
import pyarrow as pa
import pytest
from google.api_core import exceptions
from google.cloud import bigquery
from google.cloud.bigquery_storage_v1 import types

from deploy.local import bigquery_patches
from deploy.local.bigquery_patches.serving import KEPT_IN_ANY_CASE_S, KEPT_RESULT_BYTES, KEPT_RESULTS, _Latest
from deploy.local.processes import StartFailed
from tests.integration.local.emulator import FIELDS, ROW_SCHEMA, Appender, Emulator, emulator, path_of, rows

OK = 0
ALREADY_EXISTS = grpc.StatusCode.ALREADY_EXISTS.value[0]
INVALID_ARGUMENT = grpc.StatusCode.INVALID_ARGUMENT.value[0]
FAILED_PRECONDITION = grpc.StatusCode.FAILED_PRECONDITION.value[0]

NO_INTERNET = {"HTTP_PROXY": "http://127.0.0.1:9", "HTTPS_PROXY": "http://127.0.0.1:9"}
"""Nobody listens there."""


@pytest.fixture(scope="module")
def mended(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    """One with every patch, for all tests that leave it running."""
    with emulator(tmp_path_factory.mktemp("mended")) as it:
        yield it


def test_every_patch_has_a_test_here() -> None:
    tested = Path(__file__).read_text()
    assert [name for name in bigquery_patches.NAMES if f'without=["{name}"]' not in tested] == []


def test_it_starts_without_the_internet(tmp_path: Path) -> None:
    home = tmp_path / "home"  # where DuckDB would keep an extension of an earlier run
    home.mkdir()
    offline = {"HOME": str(home), **NO_INTERNET}
    with (
        pytest.raises(StartFailed, match="spatial"),
        emulator(tmp_path / "stock", without=["spatial"], environment=offline),
    ):
        pytest.fail("it started")
    with emulator(tmp_path / "mended", environment=offline) as it:
        assert it.query("SELECT 1 AS n")[0].n == 1


def test_an_append_copies_no_table(tmp_path: Path) -> None:
    def copies(folder: Path, without: list[str]) -> int:
        with emulator(folder, without=without) as it:
            stream = it.new_stream(it.new_table())
            with it.appender(stream) as appender:
                for offset in range(3):
                    assert appender.append(rows(offset), offset).error.code == OK
        with duckdb.connect(str(folder / "data" / "bqemulator.duckdb")) as database:
            found = database.execute(
                "SELECT count(*) FROM information_schema.tables WHERE table_schema = '_bqemulator_snapshots'"
            ).fetchone()
        assert found is not None
        return int(found[0])

    assert copies(tmp_path / "stock", without=["snapshots"]) >= 3
    assert copies(tmp_path / "mended", without=[]) == 0


def test_what_is_not_committed_is_seen_by_nobody(mended: Emulator, tmp_path: Path) -> None:
    def read_during_an_append(it: Emulator) -> tuple[list[int], list[int]]:
        table = it.new_table()
        stream = it.new_stream(table)
        it.arm("append-inserted")
        with ThreadPoolExecutor(1) as pool:
            appending = pool.submit(it.append, stream, rows(1), 0)
            it.wait_until_reached("append-inserted")
            seen = it.numbers(table), read_numbers(it, table)
            it.release("append-inserted")
            assert appending.result().error.code == OK
        assert it.numbers(table) == [1]
        return seen

    assert read_during_an_append(mended) == ([], [])
    with emulator(tmp_path, without=["cursor"]) as stock:
        assert read_during_an_append(stock) == ([1], [1])


def test_rest_and_an_append_can_write_to_one_table_at_once(mended: Emulator, tmp_path: Path) -> None:
    def insert_during_an_append(it: Emulator) -> tuple[int, BaseException | None, list[int]]:
        table = it.new_table()
        stream = it.new_stream(table)
        it.arm("append-inserted")
        with ThreadPoolExecutor(2) as pool:
            appending = pool.submit(it.append, stream, rows(1), 0)
            it.wait_until_reached("append-inserted")
            inserting = pool.submit(it.rest.insert_rows_json, table, rows(2), retry=None, timeout=30)
            if it is not mended:
                inserting.exception(timeout=30)  # doesn't wait for the append, which nothing lets go on yet
            it.release("append-inserted")
            return appending.result().error.code, inserting.exception(), it.numbers(table)

    assert insert_during_an_append(mended) == (OK, None, [1, 2])
    with emulator(tmp_path, without=["lock"]) as stock:
        _, error, _ = insert_during_an_append(stock)
        assert isinstance(error, exceptions.InternalServerError)


def test_a_table_that_was_half_made_at_a_kill_can_be_made_again(tmp_path: Path) -> None:
    def make_after_a_kill(folder: Path, without: list[str]) -> None:
        with emulator(folder, without=without) as it:
            table = it.new_table()
            assert it.append(it.new_stream(table), rows(1), 0).error.code == OK
            it.process.kill()
            with duckdb.connect(str(folder / "data" / "bqemulator.duckdb")) as database:
                # What a kill leaves between the two steps of making one and of dropping another.
                schema = f"{table.project}__{table.dataset_id}"
                database.execute(f'CREATE TABLE "{schema}"."half_made" (n BIGINT)')
                database.execute(f'CREATE TABLE "{schema}"."u" (n BIGINT)')
                database.execute(f'DROP TABLE "{schema}"."u"')
            it.part.start()
            fields = [bigquery.SchemaField("n", "INT64"), bigquery.SchemaField("more", "STRING")]
            half_made = bigquery.Table(f"{table.project}.{table.dataset_id}.half_made", schema=fields)
            made = it.rest.create_table(half_made, retry=None, timeout=30)
            assert it.query(f"SELECT n, more FROM `{table.project}.{table.dataset_id}.half_made`") == []
            assert made.schema == fields
            assert it.numbers(table) == [1]

    make_after_a_kill(tmp_path / "mended", without=[])
    with pytest.raises(exceptions.GoogleAPICallError):
        make_after_a_kill(tmp_path / "stock", without=["orphans"])


def test_a_file_can_be_loaded(mended: Emulator, tmp_path: Path) -> None:
    def load(it: Emulator) -> list[int]:
        table = it.new_table()
        config = bigquery.LoadJobConfig(source_format="NEWLINE_DELIMITED_JSON", schema=list(FIELDS))
        lines = b'{"n": 1, "body": {"n": 1}}\n{"n": 2, "body": {"n": 2}}\n'
        # With its size given, the client sends it in one piece.
        job = it.rest.load_table_from_file(
            io.BytesIO(lines), table, size=len(lines), job_config=config, num_retries=0, timeout=30
        )
        job.result(timeout=30)
        return it.numbers(table)

    assert load(mended) == [1, 2]
    with emulator(tmp_path, without=["uploads"]) as stock, pytest.raises(exceptions.BadRequest, match="Content-Type"):
        load(stock)


def test_a_load_has_the_name_that_it_was_given_and_comes_once(mended: Emulator, tmp_path: Path) -> None:
    def load_twice(it: Emulator, in_one_piece: bool) -> list[int]:
        table = it.new_table()
        config = bigquery.LoadJobConfig(source_format="NEWLINE_DELIMITED_JSON", schema=list(FIELDS))
        lines = b'{"n": 1, "body": {"n": 1}}\n'
        name = f"load_{table.dataset_id}"
        for _ in range(2):
            try:
                job = it.rest.load_table_from_file(
                    io.BytesIO(lines), table, size=len(lines) if in_one_piece else None, job_id=name,
                    job_config=config, num_retries=0, timeout=30,
                )  # fmt: skip
            except exceptions.Conflict:
                job = it.rest.get_job(name)
            job.result(timeout=30)
        return it.numbers(table)

    assert load_twice(mended, in_one_piece=True) == load_twice(mended, in_one_piece=False) == [1]
    with emulator(tmp_path, without=["loads"]) as stock:
        assert load_twice(stock, in_one_piece=True) == [1, 1]


def test_results_of_long_ago_are_forgotten(mended: Emulator, tmp_path: Path) -> None:
    def ask_again_later(it: Emulator) -> Any:
        first = it.rest.query("SELECT 1 AS n", retry=None, job_retry=None)
        first.result(timeout=30)
        young_until = time.monotonic() + KEPT_IN_ANY_CASE_S
        for number in itertools.count():
            old = time.monotonic() > young_until  # looked at before: what is asked from now on finds it old
            it.query(f"SELECT {number} AS n")
            if number > KEPT_RESULTS and old:
                break
        path = f"/projects/{first.project}/queries/{first.job_id}"
        return it.rest._call_api(None, method="GET", path=path, timeout=30)["rows"]

    with pytest.raises(exceptions.NotFound):
        ask_again_later(mended)
    with emulator(tmp_path, without=["results"]) as stock:
        assert ask_again_later(stock) == [{"f": [{"v": "1"}]}]


def test_a_column_added_through_the_api_is_in_the_table(mended: Emulator, tmp_path: Path) -> None:
    def append_with_a_new_column(it: Emulator) -> types.AppendRowsResponse:
        table = it.new_table()
        table.schema = [*FIELDS, bigquery.SchemaField("later", "STRING")]
        it.rest.update_table(table, ["schema"], timeout=30)
        schema = pa.schema([*ROW_SCHEMA, ("later", pa.string())])
        with it.appender(it.new_stream(table)) as appender:
            return appender.append([{"n": 1, "body": "{}", "later": "yes"}], 0, schema)

    assert append_with_a_new_column(mended).error.code == OK
    with emulator(tmp_path, without=["columns"]) as stock:
        assert "columns" in append_with_a_new_column(stock).error.message


def test_streams_survive_a_kill(tmp_path: Path) -> None:
    def append_around_a_kill(folder: Path, without: list[str]) -> tuple[list[int], list[int]]:
        with emulator(folder, without=without) as it:
            table = it.new_table()
            stream, finalized = it.new_stream(table), it.new_stream(table)
            assert it.append(stream, rows(1, 2), 0).error.code == OK
            it.write.finalize_write_stream(name=finalized, timeout=10)
            it.process.kill()
            it.part.start()
            it.connect()
            answers = [
                it.append(stream, rows(1, 2), 0),
                it.append(stream, rows(3), 2),
                it.append(finalized, rows(4), 0),
            ]
            return [answer.error.code for answer in answers], it.numbers(table)

    expected = [ALREADY_EXISTS, OK, FAILED_PRECONDITION], [1, 2, 3]
    assert append_around_a_kill(tmp_path / "mended", without=[]) == expected
    with pytest.raises(exceptions.NotFound):
        append_around_a_kill(tmp_path / "stock", without=["streams"])


def test_a_refused_batch_leaves_the_offset_where_it_was(mended: Emulator, tmp_path: Path) -> None:
    def send_again_without_the_bad_row(it: Emulator) -> tuple[list[int], list[int]]:
        table = it.new_table()
        stream = it.new_stream(table)
        codes = []
        for batch in (rows(1, 2, body=lambda n: "{" if n == 2 else "{}"), rows(1)):
            with it.appender(stream) as appender:
                try:
                    codes.append(appender.append(batch, 0).error.code)
                except exceptions.GoogleAPICallError:
                    codes.append(INVALID_ARGUMENT)
        return codes, it.numbers(table)

    assert send_again_without_the_bad_row(mended) == ([INVALID_ARGUMENT, OK], [1])
    with emulator(tmp_path, without=["atomic"]) as stock:
        assert send_again_without_the_bad_row(stock) == ([INVALID_ARGUMENT, ALREADY_EXISTS], [])


def test_rows_of_an_append_under_way_at_a_kill_come_with_their_offset_or_not_at_all(tmp_path: Path) -> None:
    with emulator(tmp_path) as it:
        table = it.new_table()
        stream = it.new_stream(table)
        it.arm("append-inserted")
        with ThreadPoolExecutor(1) as pool:
            appending = pool.submit(it.append, stream, rows(1), 0)
            it.wait_until_reached("append-inserted")
            it.process.kill()
            assert isinstance(appending.exception(), exceptions.GoogleAPICallError)
        it.part.start()
        it.connect()
        assert it.numbers(table) == []
        assert it.append(stream, rows(1), 0).error.code == OK
        assert it.numbers(table) == [1]


def test_finalizing_waits_for_an_append_under_way(mended: Emulator, tmp_path: Path) -> None:
    def finalize_during_an_append(it: Emulator) -> None:
        table = it.new_table()
        stream = it.new_stream(table)
        it.arm("append-inserted")
        with ThreadPoolExecutor(1) as pool:
            appending = pool.submit(it.append, stream, rows(1), 0)
            it.wait_until_reached("append-inserted")
            try:
                it.write.finalize_write_stream(name=stream, retry=None, timeout=2)
            finally:
                it.release("append-inserted")
                assert appending.result().error.code == OK

    with pytest.raises(exceptions.DeadlineExceeded):
        finalize_during_an_append(mended)
    with emulator(tmp_path, without=["streams"]) as stock:
        finalize_during_an_append(stock)  # answered, and the rows landed after it


@pytest.mark.parametrize("patched", [True, False])
def test_forty_writers_can_be_connected_at_once(mended: Emulator, tmp_path: Path, patched: bool) -> None:
    writers = 40  # more than the default's most, 32 threads

    def connect_all(it: Emulator, timeout: float) -> list[int]:
        table = it.new_table()
        connections = [Appender(it.write, it.new_stream(table)) for _ in range(writers)]
        with ThreadPoolExecutor(writers) as pool:
            answers = [pool.submit(each.append, rows(1), 0, timeout=timeout) for each in connections]
            codes = [-1 if answer.exception() else answer.result().error.code for answer in answers]
        for connection in connections:
            connection.close()
        return codes

    if patched:
        assert connect_all(mended, timeout=60) == [OK] * writers
    else:
        with emulator(tmp_path, without=["threads"]) as stock:
            assert -1 in connect_all(stock, timeout=4)


def read_numbers(it: Emulator, table: bigquery.Table) -> list[int]:
    """The column n, sorted, by the Storage Read API."""
    session = it.read.create_read_session(
        parent=f"projects/{table.project}",
        read_session=types.ReadSession(table=path_of(table), data_format=types.DataFormat.ARROW),
        max_stream_count=1,
        retry=None,
        timeout=30,
    )
    schema = pa.ipc.read_schema(pa.py_buffer(session.arrow_schema.serialized_schema))
    found: list[int] = []
    for stream in session.streams:
        for response in it.read.read_rows(stream.name, timeout=30):
            batch = pa.ipc.read_record_batch(pa.py_buffer(response.arrow_record_batch.serialized_record_batch), schema)
            found += batch.column("n").to_pylist()
    return sorted(found)


def test_what_was_made_a_moment_ago_is_kept_until_its_reader_has_come() -> None:
    now = [0.0]
    kept = _Latest(lambda _: KEPT_RESULT_BYTES, lambda: now[0])
    for name in ("large", "larger"):
        kept[name] = name
    assert list(kept) == ["large", "larger"]
    now[0] = KEPT_IN_ANY_CASE_S
    kept["another"] = ""
    assert list(kept) == ["another"]
