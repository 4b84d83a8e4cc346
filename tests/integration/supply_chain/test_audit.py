"""The audit with the real pip-audit, over a database of advisories that answers as the open one does."""

from __future__ import annotations

import datetime as dt
import json
import threading
from collections.abc import Iterator, Mapping, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from deploy.supply_chain import __main__ as audit
from deploy.supply_chain import source

WEAK, SOUND = "idna", "rich"
CANARY = source.CANARY.partition("==")[0]
HASH = "    --hash=sha256:" + "0" * 64 + "\n"


class Database:
    """Answers `/v1/query` after the format that the open database documents, with the advisories it was given."""

    def __init__(self, weak: Sequence[str]) -> None:
        database = self
        self.asked: list[str] = []

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                query = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                name = query["package"]["name"]
                database.asked.append(name)
                body = json.dumps(_advisory(query) if name in weak else {}).encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *args: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_address[1]}/v1/query"


def _advisory(query: Mapping[str, Any]) -> dict[str, Any]:
    name = query["package"]["name"]
    return {
        "vulns": [
            {
                "id": f"GHSA-{name}",
                "aliases": [f"CVE-{name}"],
                "summary": "weak",
                "published": "2026-01-01T00:00:00Z",
                "affected": [
                    {
                        "package": {"name": name, "ecosystem": "PyPI"},
                        "ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "99.0"}]}],
                        "versions": [query["version"]],
                    }
                ],
            }
        ]
    }


@pytest.fixture
def databases(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    opened: list[Database] = []
    # The package index's own answers depend on where the test runs; the database's don't.
    monkeypatch.setattr(source, "SOURCES", ("osv",))

    def open_one(*weak: str) -> Database:
        opened.append(Database(weak))
        monkeypatch.setenv(source.OSV_URL, opened[-1].url)
        return opened[-1]

    yield open_one
    for one in opened:
        one.server.shutdown()
        one.server.server_close()


@pytest.fixture
def run(tmp_path: Path) -> Any:
    lock = tmp_path / "requirements.lock"
    names = ("msgspec", "orjson", "prometheus-client", "pydantic", "pydantic-settings", "structlog", WEAK, SOUND)
    lock.write_text("".join(f"{name}==1.0 \\\n{HASH}" for name in names))

    def audited(ignored: str = "") -> int:
        (tmp_path / "ignored.toml").write_text(ignored)
        return audit.main(lock, tmp_path / "ignored.toml", tmp_path / "sbom.json", _PROJECT)

    return audited


_PROJECT = {
    "name": "flit-risk",
    "version": "0.1.0",
    "license": "Apache-2.0",
    "dependencies": ["msgspec>=1"],
    "optional-dependencies": {"scorer": ["rich>=1"]},
}


def test_an_advisory_fails_the_audit_until_it_is_ignored(
    databases: Any, run: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    database = databases(CANARY, WEAK)
    assert run() == 1
    said = capsys.readouterr().out
    assert f"FAILS: {WEAK} 1.0: CVE-{WEAK}, GHSA-{WEAK} (mended in 99.0)" in said
    assert {WEAK, SOUND} <= set(database.asked)
    ends = dt.datetime.now(dt.UTC).date() + dt.timedelta(days=30)
    assert run(
        f'[[ignored]]\nadvisory = "CVE-{WEAK}"\npackage = "{WEAK}"\nreason = "no host name of a stranger is read"\n'
        f"expires = {ends}\n"
    ) == 0  # fmt: skip
    assert "audited 8 packages with osv: 0 to mend" in capsys.readouterr().out


def test_a_source_that_answers_but_knows_no_advisory_at_all_is_no_source(
    databases: Any, run: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    database = databases()
    assert run() == 0
    assert "NOT AUDITED" in capsys.readouterr().out
    assert database.asked == [CANARY]
    monkeypatch.setenv("AUDIT_REQUIRED", "1")
    assert run() == 1


def test_a_source_that_is_away_is_said_and_a_broken_pip_audit_fails(
    databases: Any, run: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    database = databases(CANARY)
    database.server.shutdown()
    database.server.server_close()
    assert run() == 0
    assert "NOT AUDITED" in capsys.readouterr().out
    monkeypatch.setattr(source, "SOURCES", ("nobody",))
    assert run() == 2
    assert "invalid" in capsys.readouterr().err
