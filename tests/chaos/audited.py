"""What an audit has to have looked at: a ledger that compared nothing balances as well. Pure."""

from __future__ import annotations

from typing import Any

LOOKED_AT = ("P1", "P2", "P3", "P4", "P6", "P8")
"""What a system at work always has something of. Letters (P5) there may be none of, and P7 counts groups."""


def shortcomings(report: dict[str, Any]) -> list[str]:
    """What the ledger's report doesn't vouch for; empty: it looked at all that it should."""
    invariants = report.get("invariants") or {}
    found = [f"{name} looked at nothing" for name in LOOKED_AT if not invariants.get(name, {}).get("checked")]
    chains = report.get("chain") or {}
    if not sum(each["links"] for each in chains.values()):
        found.append("no link of the decisions' chain was followed")
    # In these runs the sink writes every row, always with a link: what has none, or lies beside, wasn't vouched for.
    for name, each in chains.items():
        if each["older_rows"] or each["beside"]:
            found.append(f"{name}: {each['older_rows']} rows without a link, {each['beside']} beside the chain")
    if not report.get("rest_answers_compared"):
        found.append("no answer of REST was compared")
    if gone := report.get("rest_answers_gone"):
        found.append(f"REST has no answer any more for {gone} decisions")
    return found
