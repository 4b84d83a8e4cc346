"""Settings: every variable that a service reads, from the classes that read it."""

from __future__ import annotations

import ast
import importlib
import inspect
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from deploy.documentation import markdown
from deploy.documentation.repository import ROOT, SERVICES
from shared.settings import ServiceSettings


@dataclass(frozen=True, slots=True)
class Variable:
    """A variable of the environment. `kind`: its type and bounds, in words; `declared`: class and field."""

    name: str
    kind: str
    default: str
    about: str
    declared: tuple[str, str]


def settings_of(service: str) -> type[ServiceSettings]:
    module = importlib.import_module(f"services.{service}.settings")
    kind: type[ServiceSettings] = getattr(module, f"{service.capitalize()}Settings")
    return kind


def variables(kind: type[BaseModel], prefix: str = "", filled: BaseModel | None = None) -> Iterator[Variable]:
    """Those of a settings class. `filled`: the section as its owner fills it, whose defaults may be other ones."""
    texts = _attribute_docstrings(kind)
    for name, field in kind.model_fields.items():
        default = getattr(filled, name) if filled is not None else field.get_default(call_default_factory=True)
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from variables(field.annotation, f"{prefix}{name.upper()}__", default)
        else:
            declared = (kind.__name__, name)
            yield Variable(prefix + name.upper(), _kind(field), _shown(default), texts.get(name, ""), declared)


def page() -> str:
    own: dict[str, list[Variable]] = {service: list(variables(settings_of(service))) for service in SERVICES}
    shared = {
        variable.name
        for service in SERVICES
        for variable in own[service]
        if not variable.name.startswith(f"{service.upper()}__")
    }
    everywhere: dict[str, Variable] = {}
    readers: dict[str, list[str]] = {}
    defaults: dict[str, dict[str, str]] = {}
    for service in SERVICES:
        for variable in own[service]:
            everywhere.setdefault(variable.name, variable)
            readers.setdefault(variable.name, []).append(service)
            defaults.setdefault(variable.name, {})[service] = variable.default
    parts = ["## Of several services", _shared_table(sorted(shared), everywhere, readers, defaults)]
    for service in SERVICES:
        rows = [variable for variable in own[service] if variable.name not in shared]
        parts += [f"## {service.capitalize()}", _own_table(rows) if rows else "None of its own."]
    return markdown.page(
        "Settings",
        "Every variable of the environment that a service reads. They are read once, at the start; a bad one ends the "
        "process with one line that names it and exit status 2. What each is for in its service stands in the "
        "[service's README](../../README.md#to-change-x-look-in-y).",
        *parts,
    )


def _shared_table(
    names: list[str],
    everywhere: dict[str, Variable],
    readers: dict[str, list[str]],
    defaults: dict[str, dict[str, str]],
) -> str:
    rows = []
    for name in names:
        of_each = defaults[name]
        same = len(set(of_each.values())) == 1
        default = markdown.code(everywhere[name].default) if same else "by service"
        apart = "" if same else ", ".join(f"{service} `{value}`" for service, value in of_each.items())
        who = "all" if len(readers[name]) == len(SERVICES) else ", ".join(readers[name])
        about = " ".join(part for part in (everywhere[name].about, apart and f"Defaults: {apart}.") if part)
        rows.append([markdown.code(name), everywhere[name].kind, default, who, markdown.safe(about)])
    return markdown.table(["variable", "value", "default", "read by", ""], rows)


def _own_table(own: list[Variable]) -> str:
    rows = [
        [markdown.code(one.name), one.kind, markdown.code(one.default), markdown.safe(one.about)]
        for one in sorted(own, key=lambda one: one.name)
    ]
    return markdown.table(["variable", "value", "default", ""], rows)


def _attribute_docstrings(kind: type[BaseModel]) -> dict[str, str]:
    """The string that stands under a field in the source; a class that inherits a field inherits it."""
    found: dict[str, str] = {}
    for each in reversed(kind.__mro__):
        if not issubclass(each, BaseModel) or each.__module__.startswith("pydantic"):
            continue
        body = ast.parse(textwrap.dedent(inspect.getsource(each))).body[0]
        assert isinstance(body, ast.ClassDef)
        for field, text in zip(body.body, body.body[1:], strict=False):
            if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name) and _is_text(text):
                found[field.target.id] = inspect.cleandoc(text.value.value)  # type: ignore[attr-defined]
    return found


def _is_text(statement: ast.stmt) -> bool:
    return (
        isinstance(statement, ast.Expr)
        and isinstance(statement.value, ast.Constant)
        and isinstance(statement.value.value, str)
    )


def _kind(field: FieldInfo) -> str:
    bounds = [_bound(one) for one in field.metadata]
    return ", ".join([_type(field.annotation), *(bound for bound in bounds if bound)])


_WORDS: dict[Any, str] = {
    str: "text", int: "whole number", float: "number", bool: "true or false", Path: "path", SecretStr: "secret",
    type(None): "empty",
}  # fmt: skip


def _type(annotation: Any) -> str:
    if annotation in _WORDS:
        return _WORDS[annotation]
    if get_origin(annotation) is Literal:
        return " or ".join(markdown.code(value) for value in get_args(annotation))
    if isinstance(annotation, type) and issubclass(annotation, Enum):
        return " or ".join(markdown.code(one.value) for one in annotation)
    if get_origin(annotation) in (list, tuple, set, frozenset):
        return "JSON list of " + " or ".join(_type(each) for each in get_args(annotation) if each is not ...)
    if get_args(annotation):
        return " or ".join(_type(each) for each in get_args(annotation) if each is not type(None))
    return getattr(annotation, "__name__", str(annotation))


_SIGNS = {"gt": ">", "ge": "≥", "lt": "<", "le": "≤"}


def _bound(metadata: object) -> str:
    for attribute, sign in _SIGNS.items():
        limit = getattr(metadata, attribute, None)
        if limit is not None:
            return f"{sign} {limit}".replace("<", "&lt;")
    pattern = getattr(metadata, "pattern", None)
    return f"like {markdown.code(pattern)}" if pattern else ""


def _shown(default: Any) -> str:
    if default is None or default is PydanticUndefined:
        return ""
    if isinstance(default, Path) and default.is_absolute():
        return str(default.relative_to(ROOT))
    if isinstance(default, bool):
        return str(default).lower()
    if isinstance(default, Enum):
        return str(default.value)
    return str(default)
