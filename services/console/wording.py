"""How things are said to people: one way for each kind of value."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from shared.contracts.money import MINOR_DIGITS

ADDRESS = re.compile("://|www|@", re.IGNORECASE)
"""What Markdown makes a link of, unasked."""
JOINER = "\u2060"

NOTHING = "–"
DEFAULT_DIGITS = 2
"""After the point of an amount whose currency is unknown, as most currencies have."""

VERDICTS = {"approve": "approved", "review": "to review", "decline": "declined"}
DEGRADED = {
    "no_model": "no model was in service",
    "model_failed": "the model failed",
    "feature_set_mismatch": "the features were of another set than the model's",
    "rebuilding": "the customer's state was being rebuilt",
    "state_unavailable": "the customer's state could not be read, or was old",
}


def verdict_taken(taken: Mapping[str, Any]) -> str:
    """The scorer's answer to a verdict."""
    verdict = str(taken["verdict"])
    told = f"{plain(VERDICTS.get(verdict, verdict).capitalize())}, as {plain(str(taken['actor']))}: recorded."
    notice = taken.get("adverse_action")  # absent: of a scorer of the release before
    if notice is None:
        return told
    reasons = " ".join(plain(str(reason["text"])) for reason in notice["principal_reasons"])
    return f"{told} The customer has to be told{f': {reasons}' if reasons else ' your reasons.'}"


def moment(time: datetime | None) -> str:
    """UTC, to the second."""
    return NOTHING if time is None else f"{time.astimezone(UTC):%Y-%m-%d %H:%M:%S}"


def ago(seconds: float) -> str:
    for size, unit in ((86_400, "days"), (3_600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit} ago"
    return f"{max(0.0, seconds):.0f} s ago"


def money(amount: Decimal | float | None, currency: str | None) -> str:
    """To the currency's own digits."""
    digits = MINOR_DIGITS.get(currency or "", DEFAULT_DIGITS)
    return NOTHING if amount is None else f"{amount:,.{digits}f} {currency or ''}".rstrip()


def share(value: float | None, digits: int = 1) -> str:
    return NOTHING if value is None else f"{value:.{digits}%}"


def number(value: float | None) -> str:
    """Whole where it is, else to four digits."""
    if value is None:
        return NOTHING
    return f"{value:,.0f}" if float(value).is_integer() else f"{value:,.4g}"


def degraded(code: str | None) -> str:
    """Why a fallback decided; empty where none did."""
    return "" if code is None else DEGRADED.get(code, code.replace("_", " "))


def reasons(found: list[dict[str, Any]] | None) -> list[str]:
    """The sentences of a decision's reasons."""
    return [str(reason.get("text") or reason.get("code", "")) for reason in found or []]


def feature(name: str) -> str:
    return name.replace("_", " ")


def plain(text: str) -> str:
    """Text of others as text, on one line: nothing of it is taken for Markdown, a link or a formula.

    Addresses become links by what they look like once all escapes are read. A joiner of no width within them keeps them
    from that, and shows nothing.
    """
    unlinked = ADDRESS.sub(lambda found: found[0][0] + JOINER + found[0][1:], " ".join(text.split()))
    return "".join(f"\\{sign}" if sign in r"\`*_{}[]()<>#+-.!|~$:=" else sign for sign in unlinked)
