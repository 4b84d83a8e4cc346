"""Events made from a JSON Schema alone: what a stranger who holds nothing but the schema may send."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from hypothesis import strategies as st

from shared.contracts.money import major_units

Schema = dict[str, Any]

TEXT = st.text("abcXYZ019 -_.äé客🛒'\"\\$<", max_size=12)
"""Of letters that are in NFC however they are joined: a schema can't ask for that, but ids are refused without it."""
VISIBLE = TEXT.filter(str.strip)
"""A schema's minLength counts blanks too; a required field of nothing else is refused as missing."""
MOMENTS = st.builds(
    lambda moment, zone: moment.isoformat(timespec="microseconds") + zone,
    st.datetimes(datetime(1971, 1, 1), datetime(2026, 1, 1)),  # noqa: DTZ001
    st.sampled_from(["Z", "+00:00", "+05:30", "-11:00"]),
)
LARGEST = 2**53
"""Beyond it a schema's integer is no longer one that every reader can hold."""
LARGEST_AMOUNT_MINOR = 100_000
"""A schema doesn't know the cap, which is a setting: by default 100,000, which is as many minor units of yen."""


def instances(schema: Schema) -> st.SearchStrategy[Any]:
    """Valid instances. Bounds that a schema leaves to the settings or can't express are kept as said above."""
    return _of(schema, schema)


def _of(content: Schema, root: Schema) -> st.SearchStrategy[Any]:
    if "$ref" in content:
        return _of(root["$defs"][content["$ref"].rpartition("/")[2]], root)
    if "anyOf" in content:
        return st.one_of([_of(choice, root) for choice in content["anyOf"]])
    if "enum" in content:
        return st.sampled_from(content["enum"])
    kind = content["type"]
    if kind == "null":
        return st.none()
    if kind == "boolean":
        return st.booleans()
    if kind == "integer":
        return st.integers(content.get("minimum", -LARGEST), content.get("maximum", LARGEST))
    if kind == "number":
        low, high = content.get("minimum", -1e6), content.get("maximum", 1e6)
        return st.floats(low, high) | st.integers(int(low), int(high))
    if kind == "array":
        return st.lists(_of(content["items"], root), max_size=min(3, content.get("maxItems", 3)))
    if kind == "string":
        return _text(content)
    return _object(content, root)


def _text(content: Schema) -> st.SearchStrategy[str]:
    if content.get("format") == "date-time":
        return MOMENTS
    if "pattern" in content:
        pattern: str = content["pattern"]
        return st.from_regex(pattern, fullmatch=True)
    return VISIBLE if content.get("minLength") else TEXT


@st.composite
def _object(draw: st.DrawFn, content: Schema, root: Schema) -> dict[str, Any]:
    if "properties" not in content:
        values = content.get("additionalProperties")
        return draw(st.dictionaries(TEXT, _of(values, root), max_size=4)) if values else {}
    required = content.get("required", [])
    body = {name: draw(_of(content["properties"][name], root)) for name in required}
    for name, part in content["properties"].items():
        if name not in required and draw(st.booleans()):
            body[name] = draw(_of(part, root))
    if {"amount", "currency"} <= set(body):
        # With no more decimals than the currency has.
        body["amount"] = major_units(draw(st.integers(0, LARGEST_AMOUNT_MINOR)), body["currency"])
    return body
