"""Days of history as files: what is sealed is whole and stays, what isn't is nothing."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import cramjam
import msgspec
import pytest

from shared import archive
from shared.archive import ArchiveDamaged, ArchivedRecord, RunArchive, days_of, runs_of

SOURCE = "simtom/bnpl/2026-06-01.7"


def records(first: int, count: int) -> list[ArchivedRecord]:
    return [
        ArchivedRecord(
            "bnpl-transactions", 1000 + number, f"cust_{number}", [("ce_id", f"e{number}")],
            msgspec.Raw(b'{"amount": %d.10, "text": "a\\nb"}' % number),
        )
        for number in range(first, first + count)
    ]  # fmt: skip


def written(run: RunArchive, name: str, of_day: Sequence[ArchivedRecord]) -> None:
    run.add(of_day)
    run.seal(name, {"completed_day": name})


def test_a_day_comes_back_as_it_was_written(tmp_path: Path) -> None:
    run = RunArchive(tmp_path, SOURCE)
    run.begin({"server_day": "2026-11-23"})
    written(run, "2026-06-01", records(0, 3))
    written(run, "2026-06-02", [])
    (folder,) = runs_of(tmp_path)
    first, second = days_of(folder)
    assert [bytes(record.value) for record in first.records()] == [bytes(record.value) for record in records(0, 3)]
    assert list(first.records())[1].key == "cust_1"
    assert (first.load_id, first.seal.records) == (f"{SOURCE}#2026-06-01", {"bnpl-transactions": 3})
    assert (list(second.records()), second.seal.records) == ([], {})


def test_a_day_of_many_frames_is_one_day(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "FRAME_BYTES", 1)
    run = RunArchive(tmp_path, SOURCE)
    for record in records(0, 5):
        run.add([record])
    run.seal("2026-06-01", {})
    (day,) = days_of(run.folder)
    assert [record.key for record in day.records()] == [f"cust_{number}" for number in range(5)]


def test_a_line_can_be_read_without_us(tmp_path: Path) -> None:
    run = RunArchive(tmp_path, SOURCE)
    written(run, "2026-06-01", records(0, 1))
    lines = bytes(cramjam.zstd.decompress((run.folder / "2026-06-01.ndjson.zst").read_bytes())).splitlines()
    assert json.loads(lines[0])["value"] == {"amount": 0.1, "text": "a\nb"}


def test_what_is_not_sealed_is_let_go_and_comes_again(tmp_path: Path) -> None:
    killed = RunArchive(tmp_path, SOURCE)
    killed.begin({"server_day": "2026-11-23"})
    written(killed, "2026-06-01", records(0, 3))
    killed.add(records(3, 2))
    after = RunArchive(tmp_path, SOURCE)
    assert after.state() == {"completed_day": "2026-06-01"}
    written(after, "2026-06-02", records(3, 4))
    assert [day.seal.records["bnpl-transactions"] for day in days_of(after.folder)] == [3, 4]
    assert not list(after.folder.glob(".writing-*"))


def test_a_file_without_its_seal_is_no_day(tmp_path: Path) -> None:
    run = RunArchive(tmp_path, SOURCE)
    run.begin({"server_day": "2026-11-23"})
    written(run, "2026-06-01", records(0, 3))
    (run.folder / "2026-06-01.json").unlink()
    assert days_of(run.folder) == []
    assert RunArchive(tmp_path, SOURCE).state() == {"server_day": "2026-11-23"}


def test_a_changed_file_is_refused_before_its_first_record(tmp_path: Path) -> None:
    run = RunArchive(tmp_path, SOURCE)
    written(run, "2026-06-01", records(0, 3))
    path = run.folder / "2026-06-01.ndjson.zst"
    path.write_bytes(cramjam.zstd.compress(b'{"topic":"bnpl-transactions"}\n'))
    with pytest.raises(ArchiveDamaged, match="2026-06-01"):
        days_of(run.folder)[0].records()
