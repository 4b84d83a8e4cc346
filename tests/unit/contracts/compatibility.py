"""What a change of a schema breaks for those who hold the old one."""

from __future__ import annotations

from typing import Any

Schema = dict[str, Any]

_TYPE = ("type", "$ref", "items")
_LOWEST = ("minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties")
_HIGHEST = ("maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties")
_FORM = ("pattern", "format", "const", "contentEncoding", "multipleOf")


def breaks(old: Schema, new: Schema) -> list[str]:
    """What those who keep to `old` could stumble over in `new`, each by its path.

    Both ways, since the system reads and writes: producers may send all that `old` allows, and readers may rely on all
    that it promises. So no field, type or value may go, no bound be tightened, and what is required stays as it is.
    """
    return _parts(old, new)


def _parts(old: Schema, new: Schema) -> list[str]:
    found = _differences("", old, new)
    for name, definition in old.get("$defs", {}).items():
        after = new.get("$defs", {}).get(name)
        found += [f"{name} is gone"] if after is None else _differences(name, definition, after)
    return found


def _differences(path: str, old: Schema, new: Schema) -> list[str]:
    if any(old.get(key) != new.get(key) for key in _TYPE) or len(old.get("anyOf", ())) != len(new.get("anyOf", ())):
        return [f"{path} has another type"]
    found = []
    for before, after in zip(old.get("anyOf", ()), new.get("anyOf", ()), strict=True):
        found += _differences(path, before, after)
    if gone := [value for value in old.get("enum", ()) if "enum" in new and value not in new["enum"]]:
        found.append(f"{path} has lost {', '.join(map(str, gone))}")
    if "enum" in new and "enum" not in old:
        found.append(f"{path} takes listed values only")
    found += [f"{path} has a higher {key}" for key in _LOWEST if key in new and new[key] > old.get(key, float("-inf"))]
    found += [f"{path} has a lower {key}" for key in _HIGHEST if key in new and new[key] < old.get(key, float("inf"))]
    found += [f"{path} has another {key}" for key in _FORM if key in new and new[key] != old.get(key)]
    found += _of_object(path, old, new)
    return found


def _of_object(path: str, old: Schema, new: Schema) -> list[str]:
    required, still = set(old.get("required", ())), set(new.get("required", ()))
    found = [f"{path}.{field} is required" for field in sorted(still - required)]
    found += [f"{path}.{field} may be absent" for field in sorted(required - still)]
    before, after = old.get("additionalProperties", True), new.get("additionalProperties", True)
    if isinstance(before, dict) and isinstance(after, dict):
        found += _differences(f"{path}.*", before, after)
    elif before != after:
        found.append(f"{path} takes other fields than before")
    for field, content in old.get("properties", {}).items():
        now = new.get("properties", {}).get(field)
        found += [f"{path}.{field} is gone"] if now is None else _differences(f"{path}.{field}", content, now)
    return found
