"""Bad inputs that one door alone can meet: flaws of a record, of a request, or of the source's line."""

from __future__ import annotations

import gzip

from shared.contracts.rejections import UNPROCESSABLE, InputWarning, RejectionReason
from tests.bad_inputs.rows import BadLine, BadPair, BadRecord, BadRequest, Subject
from tests.factories import DAY_US, SECOND_US

RECORDS: tuple[BadRecord, ...] = (
    BadRecord("3", "tombstone", RejectionReason.TOMBSTONE, value=lambda subject: None),
    BadRecord("39", "another customer's key", RejectionReason.KEY, key=lambda subject: b"cust_other"),
    BadRecord("39", "no key", RejectionReason.KEY, key=lambda subject: None),
    BadRecord("39", "an empty key", RejectionReason.KEY, key=lambda subject: b""),
    BadRecord("39", "a key that is no text", RejectionReason.KEY, key=lambda subject: b"\xff\x00"),
    BadRecord("39a", "the wrong partition", None, misplaced=True),
    BadRecord("39a", "the wrong partition, and no JSON", RejectionReason.SYNTAX, value=lambda subject: b"{",
              misplaced=True),
    BadRecord("26", "headers that are no text", None, headers=(("ce_source", b"\xff\xfe"), ("ce_id", b"\x00"))),
    BadRecord("26", "a header without a value", None, headers=(("ce_source", None),)),
    BadRecord("37", "a version header without a value", None, headers=(("schema_version", None),)),
    BadRecord("1", "no JSON, with a header without a value", RejectionReason.SYNTAX, value=lambda subject: b"{",
              headers=(("ce_source", None), ("é", b"\xff"))),
    BadRecord("39a", "the wrong partition, with a header without a value", None, headers=(("ce_id", None),),
              misplaced=True),
    BadRecord("42", "a trace that is none", None, headers=(("traceparent", b"00-" + b"x" * 52),)),
)  # fmt: skip
"""On bnpl-transactions. A misplaced record is sent again to its own partition, and judged there."""


def _late(subject: Subject) -> tuple[bytes, bytes]:
    long_ago = subject.now_us - 60 * DAY_US
    late = Subject(subject.number, subject.customer_id, long_ago + 3_600 * SECOND_US)
    return Subject(subject.number + 5, subject.customer_id, subject.now_us).purchase(), late.purchase()


PAIRS: tuple[BadPair, ...] = (
    BadPair("22", "two months late", _late, warnings=frozenset({InputWarning.LATE})),
    BadPair("40", "the same again", lambda s: (s.purchase(), s.purchase()), repeated=True),
    BadPair("40", "the same again, written otherwise", lambda s: (s.purchase(), b" " + s.purchase()), repeated=True),
    BadPair("41", "another amount", lambda s: (s.purchase(), s.purchase(amount=1.0)), RejectionReason.CONFLICT,
            UNPROCESSABLE),
    BadPair("41", "another device", lambda s: (s.purchase(), s.purchase(device={"id": "d2"})),
            RejectionReason.CONFLICT, UNPROCESSABLE),
)  # fmt: skip

_BOMB = gzip.compress(b'{"a": "' + b"x" * 50_000_000 + b'"}')

REQUESTS: tuple[BadRequest, ...] = (
    BadRequest("30", "a body too large, in pieces of unknown number", 413, "size",
               body=lambda s: s.purchase() + b" " * 200_000, chunked=True),
    BadRequest("31", "a gzip bomb", 413, "size", body=lambda s: _BOMB, headers=(("Content-Encoding", "gzip"),)),
    BadRequest("31", "gzip in gzip", 415, "encoding", body=lambda s: gzip.compress(gzip.compress(s.purchase())),
               headers=(("Content-Encoding", "gzip, gzip"),)),
    BadRequest("31", "no gzip at all", 400, "syntax", headers=(("Content-Encoding", "gzip"),)),
    BadRequest("31", "half of a gzip member", 400, "syntax", body=lambda s: gzip.compress(s.purchase())[:-9],
               headers=(("Content-Encoding", "gzip"),)),
    BadRequest("32", "an unknown encoding", 415, "encoding", headers=(("Content-Encoding", "br"),)),
    BadRequest("32", "no JSON by its own word", 415, "media-type", headers=(("Content-Type", "text/plain"),)),
    BadRequest("32", "another character set", 415, "media-type",
               headers=(("Content-Type", "application/json; charset=latin-1"),)),
    BadRequest("45", "path traversal", 404, "not-found", method="GET", path="/v1/decisions/..%2f..%2fetc%2fpasswd"),
    BadRequest("45", "a huge id", 422, "length", method="GET", path="/v1/decisions/" + "x" * 3000),
    BadRequest("45", "a query parameter", 400, "query", path="/v1/decisions?dry_run=1"),
    BadRequest("45", "a query parameter twice", 400, "query", path="/v1/decisions?a=1&a=2"),
    BadRequest("45", "a huge query", 400, "query", path="/v1/decisions?a=" + "x" * 3000),
    BadRequest("45", "another method", 405, "method", method="DELETE"),
)  # fmt: skip
"""Header injection (45) and the rates (46) need a socket and a clock of their own: tests of the REST door hold them."""

LINES: tuple[BadLine, ...] = (
    BadLine("44", "no event", b"event: tick\n\n"),
    BadLine("44", "a comment", b": keep-alive\n\n"),
    BadLine("44", "an error page", b"<html><body>502 Bad Gateway</body></html>\n\n"),
    BadLine("44", "no JSON", b"data: oops\n\n"),
    BadLine("44", "an event in another case", b'Data: {"transaction_id": "txn"}\n\n'),
    BadLine("2", "nothing behind the colon", b"data:\n\n", RejectionReason.EMPTY),
    BadLine("4", "a list of events", b"data: [{}]\n\n", RejectionReason.SHAPE),
    BadLine("5", "not UTF-8", b'data: {"transaction_id": "\xff"}\n\n', RejectionReason.UTF8),
    BadLine("7", "NaN", b'data: {"amount": NaN}\n\n', RejectionReason.NONFINITE),
    BadLine("8", "1e400", b'data: {"amount": 1e400}\n\n', RejectionReason.RANGE),
    BadLine("23", "a key twice", b'data: {"amount": 1, "amount": 2}\n\n', RejectionReason.DUPLICATE_KEY),
    BadLine("24", "an event without anything", b"data: {}\n\n", RejectionReason.MISSING),
    BadLine("27", "half a surrogate pair", b'data: {"transaction_id": "\\ud800"}\n\n', RejectionReason.UNICODE),
    BadLine(
        "30", "a line larger than a body may be", b'data: {"a": "' + b"x" * 70_000 + b'"}\n\n', RejectionReason.SIZE
    ),
    BadLine("33", "too deep", b"data: " + b'{"a":' * 21 + b"1" + b"}" * 21 + b"\n\n", RejectionReason.DEPTH),
    BadLine("44", "cut in the middle of a line", b'data: {"transaction_id": "txn', cut=True),
)

ELSEWHERE: dict[str, str] = {
    "38": "tests/unit/contracts/test_versions.py: there is no older version yet that a producer could send",
    "43": "tests/integration/features/test_bad_batches.py: a batch that no client would write",
    "46": "tests/unit/scorer/test_rate.py, test_api.py: a rate is no property of one input",
}
"""Rows that no list here can hold, and where they are."""
