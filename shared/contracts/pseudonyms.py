"""Pseudonyms: what customers, and the ids derived from them, are called in Redis, in logs and in the warehouse.

A keyed hash (HMAC-SHA-256, the first 32 hex digits) of the id and its kind, with `psn_` before it. Who has the key can
find a known id's pseudonym, nobody can get from a pseudonym to an id. `event_id` stays that of the ids as they came.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from enum import StrEnum
from typing import Any, TypeVar

import msgspec

from shared.contracts.enumerations import BLOCK_TYPES
from shared.contracts.events import Outcome, Transaction
from shared.contracts.transactions import AcceptedTransaction, fingerprint
from shared.contracts.wire import JsonObject

HEX_DIGITS = 32
PREFIX = "psn_"
_PSEUDONYM = re.compile(rf"{PREFIX}[0-9a-f]{{{HEX_DIGITS}}}")
_SCOPED = re.compile(r"(.+)-[0-9a-f]{8}")
"""A customer id with the scope that it holds in: ids derived from it carry the part before."""

_SEPARATOR = b"\x1f"
"""In no id: control characters are refused."""

StructT = TypeVar("StructT", bound=msgspec.Struct)


class Kind(StrEnum):
    """What an id is of. The same text of two kinds has two pseudonyms."""

    CUSTOMER = "customer"
    DEVICE = "device"
    PAYMENT_METHOD = "payment-method"
    TRANSACTION = "transaction"
    TEXT = "text"


class Pseudonyms:
    """`key` empty: off, and everything is given back as it came, untouched."""

    def __init__(self, key: bytes = b"") -> None:
        self._key = key

    @property
    def on(self) -> bool:
        return bool(self._key)

    @property
    def mark(self) -> str:
        """Tells one key from another, and gives none away; empty where there is none."""
        return self._hash("mark", "") if self.on else ""

    def of(self, kind: Kind, value: str) -> str:
        return f"{PREFIX}{self._hash(kind.value, value)}" if self.on else value

    @staticmethod
    def is_one(value: str) -> bool:
        """Whether this can only be a pseudonym."""
        return _PSEUDONYM.fullmatch(value) is not None

    def once(self, kind: Kind, value: str) -> str:
        """The same, of a value that may be a pseudonym already: that stays."""
        return value if _PSEUDONYM.fullmatch(value) else self.of(kind, value)

    def transaction(self, accepted: AcceptedTransaction) -> AcceptedTransaction:
        """The purchase under pseudonyms, its document too. Its fingerprint is that of what it is now."""
        if not self.on:
            return accepted
        known = accepted.transaction
        customer_id = known.customer_id
        device, payment = known.device, known.payment
        if device is not None and device.id is not None:
            device = msgspec.structs.replace(device, id=self.of(Kind.DEVICE, device.id))
        if payment is not None and payment.method_id is not None:
            payment = msgspec.structs.replace(payment, method_id=self.of(Kind.PAYMENT_METHOD, payment.method_id))
        renamed = msgspec.structs.replace(
            known,
            customer_id=self.of(Kind.CUSTOMER, customer_id),
            transaction_id=self._transaction_id(known),
            device=device,
            payment=payment,
        )
        return AcceptedTransaction(
            transaction=renamed,
            occurred_us=accepted.occurred_us,
            amount_minor=accepted.amount_minor,
            fingerprint=fingerprint(renamed),
            warnings=accepted.warnings,
            document=self._document(accepted.document, renamed, _stem(customer_id)),
        )

    def outcome(self, outcome: Outcome) -> Outcome:
        if not self.on:
            return outcome
        return msgspec.structs.replace(outcome, customer_id=self.of(Kind.CUSTOMER, outcome.customer_id))

    def _transaction_id(self, transaction: Transaction) -> str:
        """Only one that is derived from the customer's id gives him away; others are needed as they are."""
        name = transaction.transaction_id
        return self.of(Kind.TRANSACTION, name) if _stem(transaction.customer_id) in name else name

    def _document(self, document: JsonObject, renamed: Transaction, stem: str) -> JsonObject:
        changed: JsonObject = {}
        for name, value in document.items():
            if name in ("customer_id", "transaction_id"):
                changed[name] = getattr(renamed, name)
            elif name in BLOCK_TYPES and isinstance(value, dict):
                changed[name] = self._block(name, value, renamed, stem)
            else:
                changed[name] = value if name in _TOP_LEVEL else self._unknown(value, stem)
        return changed

    def _block(self, name: str, block: JsonObject, renamed: Transaction, stem: str) -> JsonObject:
        known = BLOCK_TYPES[name].__struct_fields__
        changed = {field: value if field in known else self._unknown(value, stem) for field, value in block.items()}
        for owner, field in (("device", "id"), ("payment", "method_id")):
            if name == owner and changed.get(field) is not None:
                changed[field] = getattr(getattr(renamed, owner), field)
        return changed

    def _unknown(self, value: Any, stem: str) -> Any:
        """Of a field that no contract names: any text in it that the customer's id is part of."""
        if isinstance(value, str):
            return self.of(Kind.TEXT, value) if stem in value else value
        if isinstance(value, list):
            return [self._unknown(each, stem) for each in value]
        if isinstance(value, dict):
            return {self._unknown(name, stem): self._unknown(each, stem) for name, each in value.items()}
        return value

    def _hash(self, kind: str, value: str) -> str:
        message = kind.encode() + _SEPARATOR + value.encode()
        return hmac.new(self._key, message, hashlib.sha256).hexdigest()[:HEX_DIGITS]


_TOP_LEVEL = frozenset(Transaction.__struct_fields__)

OFF = Pseudonyms()


def _stem(customer_id: str) -> str:
    scoped = _SCOPED.fullmatch(customer_id)
    return scoped.group(1) if scoped else customer_id
