"""What each field of a published event means, and its bounds: for the JSON Schemas, which types alone can't say."""

from __future__ import annotations

from typing import Any

from shared.contracts import events, money
from shared.contracts.enumerations import STATUSES
from shared.contracts.identity import EVENT_ID_HEX_DIGITS
from shared.contracts.records import MAX_DAYS_TO_MISSED_PAYMENT
from shared.contracts.rejections import RejectionReason
from shared.contracts.transactions import MAX_ID_LENGTH, MAX_INSTALLMENTS

ID: dict[str, Any] = {"minLength": 1, "maxLength": MAX_ID_LENGTH}
TIME: dict[str, Any] = {"format": "date-time"}
NOT_NEGATIVE: dict[str, Any] = {"minimum": 0}
SHARE: dict[str, Any] = {"minimum": 0, "maximum": 1}
SHA256: dict[str, Any] = {"pattern": "^[0-9a-f]{64}$"}
BASE64: dict[str, Any] = {"contentEncoding": "base64"}

EVENT_ID = f"Of the purchase. Left out by a producer: first {EVENT_ID_HEX_DIGITS} hex digits of a hash over its own ids"
CUSTOMER_ID = "Also the record's key"

Note = tuple[str, dict[str, Any]]

NOTES: dict[type, dict[str, Note]] = {
    events.Transaction: {
        "event_id": (EVENT_ID, ID),
        "source": ("Where the purchase comes from; where left out: producer, or rest", {"maxLength": MAX_ID_LENGTH}),
        "transaction_id": ("The source's own number of the purchase", ID),
        "customer_id": (CUSTOMER_ID, ID),
        "occurred_at": ("Event time, with its zone", TIME),
        "amount": ("In the currency, with no more decimals than it has", NOT_NEGATIVE),
        "currency": ("ISO 4217; others are refused", {"enum": sorted(money.MINOR_DIGITS)}),
        "status": ("Of the payment at the source; others are refused", {"enum": sorted(STATUSES)}),
        "installments": ("How it is to be repaid", {}),
        "customer": ("What the source knows of the customer", {}),
        "product": ("What is bought", {}),
        "device": ("What it is bought with", {}),
        "payment": ("The account that pays", {}),
        "checkout": ("How the purchase came about", {}),
        "source_scores": ("The source's own judgement; never an input of a model by default", {}),
    },
    events.Installments: {
        "count": ("Number of payments", {"minimum": 1, "maximum": MAX_INSTALLMENTS}),
        "first_payment_amount": ("In the currency, due at once", NOT_NEGATIVE),
        "frequency": ("Time between payments", {}),
    },
    events.Customer: {
        "age_bracket": ("Years. Kept for fairness checks, never an input of a model", {}),
        "tenure_days": ("Days since the account was opened", NOT_NEGATIVE),
        "income_bracket": ("A year, in US dollars", {}),
        "credit_score_range": ("Of a credit bureau", {}),
        "verification_level": ("How far the identity was checked", {}),
        "address_stability": ("How long the address has been the same", {}),
        "state": ("Of the address. Kept for fairness checks, never an input of a model", {}),
    },
    events.Product: {
        "id": ("The source's own number of the product", ID),
        "category": ("Group of products", {}),
        "subcategory": ("Group within the category", {}),
        "brand": ("Free text", {}),
        "price": ("In the currency", NOT_NEGATIVE),
        "bnpl_eligible": ("Whether it may be paid in instalments", {}),
        "risk_category": ("The source's own class of the product", {}),
    },
    events.Device: {
        "id": ("Stable for one device", ID),
        "type": ("Kind of device", {}),
        "os": ("Operating system", {}),
        "is_trusted": ("Whether the customer was seen with it before", {}),
    },
    events.Payment: {
        "method_id": ("Stable for one payment account", ID),
        "provider": ("Who runs the account", {}),
        "type": ("Kind of account", {}),
        "credit_limit": ("In the currency", NOT_NEGATIVE),
        "credit_utilization": ("Share of the limit in use; may exceed 1", NOT_NEGATIVE),
    },
    events.Checkout: {
        "purchase_context": ("Mood of the purchase, as the source sees it", {}),
        "checkout_speed": ("Time taken at the checkout", {}),
        "cart_abandonment_count": ("Carts left behind before", NOT_NEGATIVE),
        "price_comparison_time": ("Seconds", NOT_NEGATIVE),
        "time_on_site_seconds": ("Seconds", NOT_NEGATIVE),
        "economic_stress_factor": ("The source's index of the economy", {}),
    },
    events.SourceScores: {
        "risk_score": ("The source's own score", {}),
        "risk_level": ("Class of the score", {}),
        "risk_scenario": ("What the source took the purchase for", {}),
    },
    events.Outcome: {
        "event_id": ("Of the purchase", ID),
        "customer_id": (CUSTOMER_ID, ID),
        "defaulted": ("Whether a payment was missed for good", {}),
        "days_to_first_missed_payment": (
            "From the purchase; null where none was missed", {"minimum": 0, "maximum": MAX_DAYS_TO_MISSED_PAYMENT},
        ),
        "observed_at": ("When the lender could first know it; nothing may use it before, in event time", TIME),
    },
    events.AsOf: {
        "transactions": ("Last offset of bnpl-transactions that is in the features", {"minimum": -1}),
        "outcomes": ("Last offset of bnpl-outcomes that is in the features", {"minimum": -1}),
    },
    events.FeatureVector: {
        "event_id": ("Of the purchase", ID),
        "customer_id": (CUSTOMER_ID, ID),
        "occurred_at": ("Event time of the purchase", TIME),
        "feature_set_version": ("Which features these are, and how they are computed", {}),
        "features": ("Value by name; null where there is none", {}),
        "feature_hash": ("SHA-256 of the canonical JSON of `features`", SHA256),
        "as_of": ("Position in this partition's log that the features were computed from", {}),
        "transaction": ("The purchase itself", {}),
        "computed_at": ("Wall clock of the computation", TIME),
        "state": ("Whether the customer's state was whole or was being built again", {}),
    },
    events.Reason: {
        "code": ("Stable, for programs", {}),
        "text": ("A sentence, for people", {}),
    },
    events.ShadowScore: {
        "model_version": ("Of the model that doesn't decide", {}),
        "probability_of_default": ("Calibrated", SHARE),
        "decision": ("What it would have said", {}),
    },
    events.Decision: {
        "event_id": ("Of the purchase: there is one decision for each", ID),
        "customer_id": (CUSTOMER_ID, ID),
        "transaction_id": ("The source's own number of the purchase", ID),
        "decision": ("The answer", {}),
        "probability_of_default": ("Calibrated; null where no model was asked", SHARE),
        "expected_loss": ("In the currency of the purchase; null where no model was asked", NOT_NEGATIVE),
        "reasons": ("Main causes that raised the risk; never empty on review or decline", {"maxItems": 4}),
        "model_version": ("Of the model that scored; none without one", {}),
        "policy_version": ("Of the rules that turned the score into the answer", {}),
        "feature_set_version": ("Which features these are, and how they are computed", {}),
        "features": ("What was decided on; null where there is no value", {}),
        "feature_hash": ("SHA-256 of the canonical JSON of `features`", SHA256),
        "as_of": ("Position in this partition's log that the features were computed from", {}),
        "variant": ("Arm of the experiment", {}),
        "shadow": ("What models in trial would have said", {}),
        "degraded": ("Why a fallback decided; null where none did", {}),
        "channel": ("Through which door it was asked first", {}),
        "occurred_at": ("Event time of the purchase", TIME),
        "decided_at": ("Wall clock of the decision", TIME),
    },
    events.DecisionUpdate: {
        "update_id": ("Of this update", ID),
        "event_id": ("Of the purchase", ID),
        "customer_id": (CUSTOMER_ID, ID),
        "kind": ("A reviewer's verdict, or a checkout that called the purchase off", {}),
        "verdict": ("Of a reviewer; null for a cancellation", {}),
        "actor": ("Who said so", {}),
        "note": ("Free text", {}),
        "updated_at": ("When it was said", TIME),
    },
    events.DeadLetter: {
        "reason": ("Code of the rule that was broken", {"examples": sorted(map(str, RejectionReason))}),
        "detail": ("Field, and what would have been accepted", {}),
        "service": ("Who refused it", {}),
        "topic": ("Where the record lay", {}),
        "partition": ("Where the record lay; -1: not from Kafka", {"minimum": -1}),
        "offset": ("Where the record lay", {"minimum": -1}),
        "received_at": ("When it came in", TIME),
        "key_base64": ("The original key; null where there was none, or one too large for a letter", BASE64),
        "value_base64": ("The original value, its first 64 KiB", BASE64),
        "value_sha256": ("Of the whole original value", SHA256),
        "value_bytes": ("Length of the whole original value", NOT_NEGATIVE),
        "headers": ("Of the original record, unreadable bytes replaced", {}),
    },
}  # fmt: skip
