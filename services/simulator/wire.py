"""Purchases as simtom writes them: field names, their order, value formats, and the framing of the body."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from services.simulator import catalogue, law, population
from services.simulator.arrivals import MICROS
from services.simulator.bnpl import World
from services.simulator.catalogue import SCENARIOS
from services.simulator.draw import Draw

MEDIA_TYPE = "text/plain"
"""simtom says so too; an SSE library refuses it."""

Event = dict[str, Any]

_EARLY = ((), ("purchase_context",), ("credit_utilization",), ("purchase_context", "time_on_site_seconds"))
"""By scenario: simtom puts what the scenario itself decides right after `status`, not at its usual place."""


def frame(event: Event) -> bytes:
    """`data: {json}` and an empty line. One frame is one chunk of the body."""
    return b"data: " + json.dumps(event).encode() + b"\n\n"


def timestamp(at_us: int) -> str:
    """Naive ISO time (UTC is meant), with microseconds only where there are any."""
    whole, micros = divmod(at_us, MICROS)
    return datetime.fromtimestamp(whole, UTC).replace(microsecond=micros, tzinfo=None).isoformat()


def events(draw: Draw, world: World, *, label: str, first_record: int, today: int) -> Iterator[Event]:
    """The events of a draw, numbered from `first_record`, the tenure counted to the day `today` (an ordinal)."""
    people, products = world.people, world.products
    rows, product = draw.person, draw.product
    customer_columns = zip(
        people.codes(population.AGE, rows).tolist(),
        (today - people.signup(rows)).tolist(),
        people.codes(population.INCOME, rows).tolist(),
        people.codes(population.CREDIT, rows).tolist(),
        people.codes(population.VERIFICATION, rows).tolist(),
        people.codes(population.ADDRESS, rows).tolist(),
        people.codes(population.STATE, rows).tolist(),
        people.device(rows, draw.device_slot).tolist(),
        people.payment(rows, draw.payment_slot).tolist(),
        strict=True,
    )
    product_columns = zip(
        product.tolist(),
        products.category[product].tolist(),
        products.brand[product].tolist(),
        products.risk[product].tolist(),
        strict=True,
    )
    purchase_columns = zip(
        draw.times_us.tolist(),
        draw.customer.tolist(),
        draw.device_slot.tolist(),
        draw.payment_slot.tolist(),
        draw.scenario.tolist(),
        draw.fast_half.tolist(),
        draw.amount.tolist(),
        draw.utilization.tolist(),
        draw.installments.tolist(),
        draw.cart_abandonments.tolist(),
        draw.price_comparison.tolist(),
        draw.time_on_site.tolist(),
        draw.score.tolist(),
        draw.defaulted.tolist(),
        draw.first_missed,
        strict=True,
    )
    for number, (who, what, how) in enumerate(
        zip(customer_columns, product_columns, purchase_columns, strict=True), start=first_record
    ):
        age, tenure, income, credit, verification, address, state, device_code, payment_code = who
        row, category_code, brand, product_risk = what
        at_us, customer_number, device_slot, payment_slot, scenario_code, half, amount, utilization, *checkout = how
        installments, cart, comparison, on_site, score, defaulted, first_missed = checkout
        scenario = SCENARIOS[scenario_code]
        customer = f"cust_{customer_number:06d}"
        device_type, device_os, trusted = catalogue.DEVICE.values[device_code]
        provider, credit_limit = catalogue.PAYMENT.values[payment_code]
        category = catalogue.CATEGORY.values[category_code]
        own = {
            "purchase_context": scenario.context,
            "credit_utilization": utilization,
            "time_on_site_seconds": on_site,
        }

        event: Event = {
            "transaction_id": f"txn_{number:08d}",
            "customer_id": customer,
            "product_id": f"prod_{row + 1:06d}",
            "device_id": f"{customer}_device_{device_slot + 1}",
            "payment_method_id": f"{customer}_pm_{payment_slot + 1}",
            "amount": amount,
            "currency": "USD",
            "status": "completed",
        }
        event |= {name: own[name] for name in _EARLY[scenario_code]}
        event |= {  # a name that is there already keeps its place
            "risk_scenario": scenario.name,
            "risk_score": score,
            "risk_level": law.risk_level(score),
            "installment_count": installments,
            "first_payment_amount": round(amount / 4, 2),  # of six instalments, too
            "payment_frequency": "bi_weekly",
            "purchase_context": scenario.context,
            "checkout_speed": scenario.speeds[half],
            "cart_abandonment_count": cart,
            "price_comparison_time": comparison,
            "time_on_site_seconds": on_site,
            "economic_stress_factor": 0.0,
            "will_default": defaulted,
            "days_to_first_missed_payment": first_missed,
            "customer_age_bracket": catalogue.AGE.values[age],
            "customer_tenure_days": tenure,
            "customer_income_bracket": catalogue.INCOME.values[income],
            "customer_credit_score_range": catalogue.CREDIT.values[credit],
            "customer_verification_level": catalogue.VERIFICATION.values[verification],
            "customer_address_stability": catalogue.ADDRESS.values[address],
            "customer_state": catalogue.STATE.values[state],
            "product_category": category,
            "product_subcategory": products.subcategory[row],
            "product_brand": catalogue.BRAND.values[brand],
            "product_price": amount,
            "product_bnpl_eligible": category in catalogue.ELIGIBLE_CATEGORIES and amount >= catalogue.ELIGIBLE_FROM,
            "product_risk_category": catalogue.PRODUCT_RISK.values[product_risk],
            "device_type": device_type,
            "device_os": device_os,
            "device_is_trusted": trusted,
            "payment_provider": provider,
            "payment_type": "bnpl_account",
            "payment_credit_limit": credit_limit,
            "_timestamp": timestamp(at_us),
            "_record_id": number,
            "_generator": label,
        }
        yield event
