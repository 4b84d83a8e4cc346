"""What a record says, in a few bytes: to be compared with what its row in the warehouse says.

Of each table those columns that a wrong row would give away and that no erasure empties. Each side is read on its own
and brought to the same plain form: the record from its JSON, the row from BigQuery's types.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Any

from services.ledger.reading import micros_of
from shared.contracts.topics import DEAD_LETTERS, DECISION_UPDATES, DECISIONS, FEATURES, OUTCOMES, TRANSACTIONS

DIGEST_BYTES = 8
"""Enough to tell a row from another; nobody attacks his own books."""

CENTS_OF_CENTS = Decimal("0.0001")
"""Rounding noise of up to a millionth is taken off an amount on its way in; no currency has more than 3 decimals."""

Plain = Callable[[Any], object]


def _amount(value: Any) -> object:
    if value is None:
        return None
    exact = value if isinstance(value, Decimal) else Decimal(repr(value))
    return str(abs(exact.quantize(CENTS_OF_CENTS, ROUND_HALF_EVEN)))


def _number(value: Any) -> object:
    return None if value is None else repr(float(value))


def _as_is(value: Any) -> object:
    return value


def _document(value: Any) -> object:
    """JSON in one form: BigQuery doesn't keep the order of an object's names."""
    try:
        return json.dumps(json.loads(value) if isinstance(value, str) else value, sort_keys=True)
    except ValueError:
        return value


def _of(block: str, name: str) -> Callable[[Mapping[str, Any]], Any]:
    return lambda body: (body.get(block) or {}).get(name)


def _named(name: str) -> Callable[[Mapping[str, Any]], Any]:
    return lambda body: body.get(name)


def _time(name: str) -> Callable[[Mapping[str, Any]], int | None]:
    """In microseconds since 1970, as which a row has it; None for what isn't a time."""

    def find(body: Mapping[str, Any]) -> int | None:
        try:
            return micros_of(body.get(name))
        except (ValueError, AttributeError, TypeError):
            return None

    return find


Column = tuple[str, Callable[[Mapping[str, Any]], Any], Plain]
"""The table's column, where the record has it, and the plain form of both."""

COMPARED: dict[str, dict[str, tuple[Column, ...]]] = {
    TRANSACTIONS.name: {
        "flit_bnpl_raw.raw_bnpl_txs_json": (("_timestamp", _time("occurred_at"), _as_is),),
        "flit_bnpl_raw.transactions": (
            ("occurred_at", _time("occurred_at"), _as_is),
            ("amount", _named("amount"), _amount),
            ("currency", _named("currency"), _as_is),
        ),
    },
    OUTCOMES.name: {
        "flit_bnpl_raw.outcomes": (
            ("defaulted", _named("defaulted"), _as_is),
            ("days_to_first_missed_payment", _named("days_to_first_missed_payment"), _as_is),
            ("observed_at", _time("observed_at"), _as_is),
        ),
    },
    FEATURES.name: {
        "flit_ml_raw.features": (
            ("occurred_at", _time("occurred_at"), _as_is),
            ("feature_set_version", _named("feature_set_version"), _as_is),
            ("feature_hash", _named("feature_hash"), _as_is),
            ("as_of_transactions", _of("as_of", "transactions"), _as_is),
            ("as_of_outcomes", _of("as_of", "outcomes"), _as_is),
            ("state", _named("state"), _as_is),
        ),
    },
    DECISIONS.name: {
        "flit_ml_raw.raw_bnpl_prediction_logs": (
            ("prediction_timestamp", _time("decided_at"), _as_is),
            ("decision", _named("decision"), _as_is),
            ("probability_of_default", _named("probability_of_default"), _number),
            ("expected_loss", _named("expected_loss"), _number),
            ("model_version", _named("model_version"), _as_is),
            ("policy_version", _named("policy_version"), _as_is),
            ("feature_set_version", _named("feature_set_version"), _as_is),
            ("feature_hash", _named("feature_hash"), _as_is),
            ("as_of_transactions", _of("as_of", "transactions"), _as_is),
            ("as_of_outcomes", _of("as_of", "outcomes"), _as_is),
            ("occurred_at", _time("occurred_at"), _as_is),
            ("reasons", _named("reasons"), _document),
            ("variant", _named("variant"), _as_is),
            ("shadow", _named("shadow"), _document),
            ("degraded", _named("degraded"), _as_is),
            ("channel", _named("channel"), _as_is),
        ),
    },
    DECISION_UPDATES.name: {
        "flit_ml_raw.decision_updates": (
            ("update_id", _named("update_id"), _as_is),
            ("kind", _named("kind"), _as_is),
            ("verdict", _named("verdict"), _as_is),
        ),
    },
    DEAD_LETTERS.name: {
        "flit_ml_raw.dead_letters": (
            ("reason", _named("reason"), _as_is),
            ("source_topic", _named("topic"), _as_is),
            ("source_partition", _named("partition"), _as_is),
            ("source_offset", _named("offset"), _as_is),
            ("value_sha256", _named("value_sha256"), _as_is),
            ("value_bytes", _named("value_bytes"), _as_is),
        ),
    },
}
"""Topic → table → columns."""

_BY_TABLE = {table: columns for of_topic in COMPARED.values() for table, columns in of_topic.items()}


def columns_of(table: str) -> tuple[str, ...]:
    """The columns to read of a table."""
    return tuple(column for column, _, _ in _BY_TABLE[table])


def of_record(topic: str, body: Mapping[str, Any]) -> dict[str, bytes]:
    """Table → digest of what its row has to say. `body`: an accepted record's JSON."""
    return {
        table: _digest([plain(find(body)) for _, find, plain in columns]) for table, columns in COMPARED[topic].items()
    }


def of_row(table: str, values: Iterable[Any]) -> bytes:
    """Digest of what the row says. `values`: of `columns_of` the table, as BigQuery's client gives them, but for
    times, which are microseconds since 1970."""
    return _digest([plain(value) for value, (_, _, plain) in zip(values, _BY_TABLE[table], strict=True)])


def _digest(values: list[object]) -> bytes:
    return hashlib.blake2b(repr(values).encode(), digest_size=DIGEST_BYTES).digest()
