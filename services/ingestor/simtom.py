"""simtom's flat event to our nested transaction and its outcome. Pure.

What is particular to simtom is known here and nowhere else: its field names, ids that start again on every stream,
times without a zone (they mean UTC), a tenure counted from the server's day, and labels inside the event.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any, Literal

from shared.contracts import identity
from shared.contracts.events import Outcome, Transaction
from shared.contracts.records import MAX_DAYS_TO_MISSED_PAYMENT
from shared.contracts.rejections import Rejection, RejectionReason
from shared.contracts.transactions import BLOCKS, normalise_time
from shared.contracts.wire import JsonObject

CustomerScope = Literal["profile", "run", "source"]

DAYS_PER_INSTALMENT = 14
"""A loan without a missed payment is known to be good once its last instalment has passed."""

SCOPE_HEX_DIGITS = 8
PROFILE_FIELDS = (
    "customer_age_bracket", "customer_credit_score_range", "customer_income_bracket", "customer_state",
    "customer_verification_level", "customer_address_stability",
)  # fmt: skip
"""What tells one person from the next who was given the same id. The order is part of the id."""

DEFAULT_LABEL = "will_default"
DAYS_LABEL = "days_to_first_missed_payment"

_TOP_LEVEL = ("transaction_id", "customer_id", "amount", "currency", "status")
_NESTED: dict[str, tuple[str, str]] = {
    "installment_count": ("installments", "count"),
    "first_payment_amount": ("installments", "first_payment_amount"),
    "payment_frequency": ("installments", "frequency"),
    "customer_age_bracket": ("customer", "age_bracket"),
    "customer_tenure_days": ("customer", "tenure_days"),
    "customer_income_bracket": ("customer", "income_bracket"),
    "customer_credit_score_range": ("customer", "credit_score_range"),
    "customer_verification_level": ("customer", "verification_level"),
    "customer_address_stability": ("customer", "address_stability"),
    "customer_state": ("customer", "state"),
    "product_id": ("product", "id"),
    "product_category": ("product", "category"),
    "product_subcategory": ("product", "subcategory"),
    "product_brand": ("product", "brand"),
    "product_price": ("product", "price"),
    "product_bnpl_eligible": ("product", "bnpl_eligible"),
    "product_risk_category": ("product", "risk_category"),
    "device_id": ("device", "id"),
    "device_type": ("device", "type"),
    "device_os": ("device", "os"),
    "device_is_trusted": ("device", "is_trusted"),
    "payment_method_id": ("payment", "method_id"),
    "payment_provider": ("payment", "provider"),
    "payment_type": ("payment", "type"),
    "payment_credit_limit": ("payment", "credit_limit"),
    "credit_utilization": ("payment", "credit_utilization"),
    "purchase_context": ("checkout", "purchase_context"),
    "checkout_speed": ("checkout", "checkout_speed"),
    "cart_abandonment_count": ("checkout", "cart_abandonment_count"),
    "price_comparison_time": ("checkout", "price_comparison_time"),
    "time_on_site_seconds": ("checkout", "time_on_site_seconds"),
    "economic_stress_factor": ("checkout", "economic_stress_factor"),
    "risk_score": ("source_scores", "risk_score"),
    "risk_level": ("source_scores", "risk_level"),
    "risk_scenario": ("source_scores", "risk_scenario"),
}
_BOOKKEEPING = frozenset({"_timestamp", "_record_id", "_generator", DEFAULT_LABEL, DAYS_LABEL})
_CONSUMED = _BOOKKEEPING | frozenset(_TOP_LEVEL) | _NESTED.keys()
_OWN_NAMES = frozenset(Transaction.__struct_fields__) | {"schema_version"}


@dataclass(frozen=True, slots=True)
class Run:
    """One request to the source. Its ids are unique within it and nowhere else."""

    generator: str
    name: str

    @property
    def source(self) -> str:
        return f"simtom/{self.generator}/{self.name}"

    @staticmethod
    def history(generator: str, start: date, seed: int) -> Run:
        return Run(generator, f"{start.isoformat()}.{seed}")

    @staticmethod
    def live(generator: str, started: datetime) -> Run:
        return Run(generator, f"live.{started.astimezone(UTC):%Y%m%dT%H%M%SZ}")

    @staticmethod
    def of_source(source: str) -> Run | None:
        """The run that a `source` names; None where it isn't one of ours."""
        parts = source.split("/", 2)
        return Run(parts[1], parts[2]) if len(parts) == 3 and parts[0] == "simtom" and all(parts) else None


@dataclass(frozen=True, slots=True)
class Labels:
    """What the simulator says will become of the purchase, as it stood in the event: not yet checked."""

    defaulted: Any
    days: Any
    present: bool


def transaction_document(
    flat: JsonObject, *, run: Run, scope: CustomerScope, server_day: date
) -> tuple[JsonObject, Labels]:
    """The Transaction as a JSON object, ready for the shared decoder, and the labels that were taken off.

    `server_day`: the day (UTC) on the source's clock when the run was begun, from which it counted the tenure. Wrong
    types are passed on as they are, for the decoder to name. Raises `Rejection` for a time that isn't one.
    """
    document: JsonObject = {"event_id": None, "source": run.source}
    for name in ("transaction_id", "customer_id"):
        document[name] = flat.get(name)
    document["occurred_at"] = _with_zone(flat.get("_timestamp"))
    for name in ("amount", "currency", "status"):
        if name in flat:
            document[name] = flat[name]
    blocks: dict[str, JsonObject] = {name: {} for name in BLOCKS}
    for name, (block, field) in _NESTED.items():
        if name in flat:
            blocks[block][field] = flat[name]
    if blocks["payment"]:
        blocks["payment"].setdefault("credit_utilization", None)  # simtom leaves the key out where it knows none
    document.update((name, block) for name, block in blocks.items() if block)
    for name, value in flat.items():
        if name not in _CONSUMED:
            # A field that simtom has grown since: kept for the warehouse, and never taken for one of ours.
            document[f"source_{name}" if name in _OWN_NAMES else name] = value
    document["customer_id"] = scoped_customer(flat, run=run, scope=scope)
    _identify(document)
    _correct_tenure(document, server_day)
    labels = Labels(flat.get(DEFAULT_LABEL), flat.get(DAYS_LABEL), DEFAULT_LABEL in flat or DAYS_LABEL in flat)
    return document, labels


def scoped_customer(flat: JsonObject, *, run: Run, scope: CustomerScope) -> Any:
    """The id of one person. simtom gives a forgotten customer's id to somebody else, and begins anew on each stream.

    `profile`: one person is an id with one profile within one run; `run`: an id within one run; `source`: the id alone,
    for a source that keeps its people.
    """
    customer = flat.get("customer_id")
    if scope == "source" or not isinstance(customer, str) or not customer.strip():
        return customer
    parts = [run.name, customer]
    if scope == "profile":
        parts += [str(flat.get(name, "")) for name in PROFILE_FIELDS]
    digest = hashlib.sha256(identity.SEPARATOR.join(parts).encode()).hexdigest()
    return f"{customer}-{digest[:SCOPE_HEX_DIGITS]}"


def outcome_of(transaction: Transaction, occurred_us: int, labels: Labels) -> Outcome | None:
    """The outcome that the labels tell, or None where the event has none. Raises `Rejection` for labels in disorder.

    Noise turns labels into floats: such a value is no label any more, and the event is refused rather than guessed at.
    """
    if not labels.present:
        return None
    defaulted, days = labels.defaulted, labels.days
    if not isinstance(defaulted, bool):
        raise Rejection(RejectionReason.TYPE, DEFAULT_LABEL, "a boolean")
    if defaulted:
        if days is None:
            raise Rejection(RejectionReason.MISSING, DAYS_LABEL, "the days of a default")
        if isinstance(days, bool) or not isinstance(days, int):
            raise Rejection(RejectionReason.TYPE, DAYS_LABEL, "whole days")
        if not 0 <= days <= MAX_DAYS_TO_MISSED_PAYMENT:
            raise Rejection(RejectionReason.RANGE, DAYS_LABEL, f"0 to {MAX_DAYS_TO_MISSED_PAYMENT}")
        known_after = days
    else:
        if days is not None:
            raise Rejection(RejectionReason.TYPE, DAYS_LABEL, "null where no payment is missed")
        count = transaction.installments.count if transaction.installments else None
        if count is None:
            raise Rejection(RejectionReason.MISSING, "installments.count", "a count, to know when the loan ends")
        known_after = DAYS_PER_INSTALMENT * count
    return Outcome(
        event_id=transaction.event_id,
        customer_id=transaction.customer_id,
        defaulted=defaulted,
        days_to_first_missed_payment=days,
        observed_at=identity.canonical_time(_moment(occurred_us) + timedelta(days=known_after)),
    )


def _with_zone(timestamp: Any) -> Any:
    """simtom's times have no zone and mean UTC: this is the one place that knows it."""
    if not isinstance(timestamp, str):
        return timestamp
    clock = timestamp[10:]
    has_zone = clock.endswith(("Z", "z")) or "+" in clock or "-" in clock
    return timestamp if has_zone or not timestamp.strip() else timestamp + "Z"


def _identify(document: JsonObject) -> None:
    """Put in the event id; leave it out where a part of it is missing, which the decoder then says."""
    parts = [document["transaction_id"], document["customer_id"], document["occurred_at"]]
    if all(isinstance(part, str) and part.strip() for part in parts):
        normalise_time(document, "occurred_at")
        document["event_id"] = identity.event_id(
            document["source"], document["transaction_id"], document["customer_id"], document["occurred_at"]
        )
    else:
        del document["event_id"]


def _correct_tenure(document: JsonObject, server_day: date) -> None:
    customer = document.get("customer", {})
    tenure = customer.get("tenure_days")
    if isinstance(tenure, bool) or not isinstance(tenure, int) or "event_id" not in document:
        return
    event_day = date.fromisoformat(document["occurred_at"][:10])
    customer["tenure_days"] = max(0, tenure - (server_day - event_day).days)


def _moment(occurred_us: int) -> datetime:
    return identity.EPOCH + timedelta(microseconds=occurred_us)
