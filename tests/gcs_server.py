"""As much of Cloud Storage's JSON API as Google's own client needs for objects, with generations and preconditions.

In memory. Strict: what it doesn't know it answers with 501, so that a test can't pass by a call that was never checked.
`tests/integration/model_artifact` runs the same tests against a real bucket where `FLIT_TEST_GCS_BUCKET` names one.
"""

from __future__ import annotations

import base64
import email
import hashlib
import itertools
import json
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.policy import HTTP
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit


@dataclass
class Stored:
    data: bytes
    generation: int
    created: str


@dataclass
class Buckets:
    """What the server holds. `refuse`: every call is answered with this status. `lose`: names of
    objects; of the next write of each the answer is lost, its work being done."""

    objects: dict[tuple[str, str], Stored] = field(default_factory=dict)
    generations: Iterator[int] = field(default_factory=lambda: itertools.count(1_000_001))
    lock: threading.Lock = field(default_factory=threading.Lock)
    refuse: int | None = None
    lose: set[str] = field(default_factory=set)


class Refused(Exception):
    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Handler(BaseHTTPRequestHandler):
    buckets: Buckets
    sessions: dict[str, tuple[str, str, dict[str, list[str]]]]
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._answer(self._get)

    def do_POST(self) -> None:
        self._answer(self._post)

    def do_PUT(self) -> None:
        self._answer(self._put)

    def do_DELETE(self) -> None:
        self._answer(self._delete)

    def log_message(self, *arguments: Any) -> None:
        pass

    def _answer(self, work: Any) -> None:
        length = int(self.headers.get("content-length") or 0)
        self.body, self.wrote = self.rfile.read(length), ""
        url = urlsplit(self.path)
        self.path_parts = [unquote(part) for part in url.path.strip("/").split("/")]
        self.query = parse_qs(url.query)
        try:
            with self.buckets.lock:
                if self.buckets.refuse is not None:
                    raise Refused(self.buckets.refuse, "told to refuse")
                status, headers, content = work()
                if self.wrote in self.buckets.lose:
                    self.buckets.lose.remove(self.wrote)
                    self.close_connection = True
                    return
        except Refused as refused:
            status, headers = refused.status, {}
            content = json.dumps({"error": {"code": refused.status, "message": str(refused)}}).encode()
        self.send_response(status)
        for name, value in ({"content-type": "application/json"} | headers).items():
            self.send_header(name, value)
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def _get(self) -> tuple[int, dict[str, str], bytes]:
        match self.path_parts:
            case ["storage", "v1", "b", bucket, "o"]:
                prefix = self.query.get("prefix", [""])[0]
                found = [
                    self._resource(name) for name in sorted(self.buckets.objects) if name[0] == bucket
                    and name[1].startswith(prefix)
                ]  # fmt: skip
                return 200, {}, json.dumps({"kind": "storage#objects", "items": found}).encode()
            case ["storage", "v1", "b", bucket, "o", name]:
                self._held((bucket, name))
                self._check((bucket, name), self.query)
                return 200, {}, json.dumps(self._resource((bucket, name))).encode()
            case ["download", "storage", "v1", "b", bucket, "o", name]:
                held = self._held((bucket, name))
                self._check((bucket, name), self.query)
                marks = {
                    "content-type": "application/octet-stream", "x-goog-generation": str(held.generation),
                    "x-goog-hash": f"md5={_md5(held.data)}",
                }  # fmt: skip
                return 200, marks, held.data
        raise Refused(501, f"GET {self.path}")

    def _post(self) -> tuple[int, dict[str, str], bytes]:
        match self.path_parts, self.query.get("uploadType"):
            case ["upload", "storage", "v1", "b", bucket, "o"], ["multipart"]:
                envelope = b"content-type: " + self.headers["content-type"].encode() + b"\r\n\r\n" + self.body
                about, content = email.message_from_bytes(envelope, policy=HTTP).iter_parts()
                name = json.loads(about.get_content())["name"]
                data = content.get_payload(decode=True)
                assert isinstance(data, bytes)
                return self._store((bucket, name), data, self.query)
            case ["upload", "storage", "v1", "b", bucket, "o"], ["resumable"]:
                session = uuid.uuid4().hex
                self.sessions[session] = (bucket, json.loads(self.body)["name"], self.query)
                host = f"http://{self.headers['host']}"
                return 200, {"location": f"{host}/upload/storage/v1/sessions/{session}"}, b""
        raise Refused(501, f"POST {self.path}")

    def _put(self) -> tuple[int, dict[str, str], bytes]:
        match self.path_parts:
            case ["upload", "storage", "v1", "sessions", session]:
                bucket, name, query = self.sessions.pop(session)
                return self._store((bucket, name), self.body, query)
        raise Refused(501, f"PUT {self.path}")

    def _delete(self) -> tuple[int, dict[str, str], bytes]:
        match self.path_parts:
            case ["storage", "v1", "b", bucket, "o", name]:
                self._held((bucket, name))
                self._check((bucket, name), self.query)
                del self.buckets.objects[bucket, name]
                return 204, {}, b""
        raise Refused(501, f"DELETE {self.path}")

    def _store(
        self, at: tuple[str, str], data: bytes, query: dict[str, list[str]]
    ) -> tuple[int, dict[str, str], bytes]:
        self._check(at, query)
        now = datetime.now(UTC).isoformat().replace("+00:00", "Z")
        self.buckets.objects[at] = Stored(data, next(self.buckets.generations), now)
        self.wrote = at[1]
        return 200, {}, json.dumps(self._resource(at)).encode()

    def _check(self, at: tuple[str, str], query: dict[str, list[str]]) -> None:
        unknown = [name for name in query if name.startswith("if") and name != "ifGenerationMatch"]
        if unknown:
            raise Refused(501, f"precondition {unknown}")
        wanted = query.get("ifGenerationMatch")
        held = self.buckets.objects.get(at)
        if wanted is not None and int(wanted[0]) != (held.generation if held else 0):
            raise Refused(412, "At least one of the pre-conditions you specified did not hold.")

    def _held(self, at: tuple[str, str]) -> Stored:
        held = self.buckets.objects.get(at)
        if held is None:
            raise Refused(404, f"No such object: {'/'.join(at)}")
        return held

    def _resource(self, at: tuple[str, str]) -> dict[str, Any]:
        held = self.buckets.objects[at]
        return {
            "kind": "storage#object", "bucket": at[0], "name": at[1], "generation": str(held.generation),
            "metageneration": "1", "size": str(len(held.data)), "md5Hash": _md5(held.data),
            "timeCreated": held.created, "updated": held.created, "contentType": "application/octet-stream",
        }  # fmt: skip


def _md5(data: bytes) -> str:
    return base64.b64encode(hashlib.md5(data, usedforsecurity=False).digest()).decode()


@contextmanager
def gcs_server() -> Iterator[tuple[str, Buckets]]:
    """Its address, and what it holds."""
    buckets = Buckets()
    handler = type("OneServersHandler", (Handler,), {"buckets": buckets, "sessions": {}})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", buckets
    finally:
        server.shutdown()
        server.server_close()
