"""Amounts: decimal on the wire, whole minor units wherever they are added up."""

from __future__ import annotations

from decimal import ROUND_HALF_EVEN, Decimal

MINOR_DIGITS: dict[str, int] = {
    "USD": 2, "EUR": 2, "GBP": 2, "CAD": 2, "AUD": 2, "NZD": 2, "CHF": 2, "SEK": 2, "NOK": 2, "DKK": 2, "PLN": 2,
    "CZK": 2, "MXN": 2, "BRL": 2, "INR": 2, "SGD": 2, "ZAR": 2, "JPY": 0, "KRW": 0, "KWD": 3,
}  # fmt: skip
"""Digits after the point by currency (ISO 4217). A currency that isn't listed is refused, not guessed."""

MINOR_PER_MAJOR: dict[str, int] = {currency: int("1" + "0" * digits) for currency, digits in MINOR_DIGITS.items()}

MOST_SIGNIFICANT = 10**15
"""Below it no two whole numbers of minor units are the same double in major units: a double holds 15 decimal digits."""

MOST = 1e9
"""In major units, of one purchase: the most that `LIMITS__MAX_AMOUNT` may be set to."""

ROUNDING_NOISE = Decimal("1e-6")
"""Distance from a whole minor unit (in major units) that is taken for binary rounding, not for a finer price."""


class TooPrecise(ValueError):
    """The amount has more decimals than its currency."""


def minor_units(amount: float, currency: str) -> tuple[int, bool]:
    """The amount in whole minor units, and whether rounding noise had to be taken off.

    Raises TooPrecise beyond the noise, KeyError for an unknown currency. The float is read by its shortest decimal
    form, which is what the sender wrote, so 67.51 is exactly 6751.
    """
    digits = MINOR_DIGITS[currency]
    if abs(amount) * (per_major := MINOR_PER_MAJOR[currency]) < MOST_SIGNIFICANT:
        nearest = round(amount * per_major)
        if nearest / per_major == amount:
            return nearest, False
    exact = Decimal(repr(float(amount)))
    scaled = exact.scaleb(digits)
    whole = scaled.to_integral_value(rounding=ROUND_HALF_EVEN)
    if scaled == whole:
        return int(whole), False
    if abs(exact - whole.scaleb(-digits)) <= ROUNDING_NOISE:
        return int(whole), True
    raise TooPrecise(f"{currency} has {digits} decimals")


def major_units(minor: int, currency: str) -> float:
    """Minor units as a decimal number of the currency, for display and for features: never added up again."""
    # Python rounds the quotient of two integers correctly, so it is what the decimal number's digits would give.
    return minor / MINOR_PER_MAJOR[currency]
