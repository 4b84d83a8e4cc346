"""The policy file: what it may hold, and how it is read."""

from __future__ import annotations

import hashlib
import json
from decimal import Decimal, InvalidOperation
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, field_validator, model_validator

from shared.contracts.money import MINOR_DIGITS

DEFAULT_POLICY = Path(__file__).with_name("default.yaml")


class PolicyFileError(ValueError):
    """The file can't be used. The message names the file, the field, and what was expected of it."""


def _exact(value: Any) -> Decimal:
    # A bare 0.1 in YAML is a binary float before we see it: money limits are written as text, and read exactly.
    if not isinstance(value, str):
        raise ValueError("a decimal number in quotes")
    try:
        number = Decimal(value)
    except InvalidOperation:
        raise ValueError("a decimal number in quotes") from None
    if not number.is_finite():
        raise ValueError("a finite number")
    return number


Exact = Annotated[Decimal, BeforeValidator(_exact)]


class _Part(BaseModel):
    model_config = ConfigDict(strict=True, frozen=True, extra="forbid")


class Rules(_Part):
    review_amount_above_usd: Exact = Field(gt=0)
    review_purchases_24h_from: int = Field(ge=1)


class Fallback(_Part):
    approve_up_to_usd: Exact = Field(ge=0)


class Policy(_Part):
    """Thresholds and rules; default.yaml says what each number is for."""

    version: str = Field(min_length=1, max_length=32, pattern=r"^[A-Za-z0-9._-]+$")
    loss_given_default: Exact = Field(gt=0, le=1)
    approve_up_to: Exact = Field(ge=0)
    """Loss rate, inclusive."""
    decline_above: Exact = Field(ge=0)
    """Loss rate, exclusive; between the two a person looks."""
    rules: Rules
    fallback: Fallback
    units_per_usd: dict[str, Exact]

    @field_validator("units_per_usd")
    @classmethod
    def _every_currency(cls, units: dict[str, Decimal]) -> dict[str, Decimal]:
        if units.keys() != MINOR_DIGITS.keys():
            odd = sorted(units.keys() ^ MINOR_DIGITS.keys())
            raise ValueError(f"one entry for each accepted currency, wrong: {', '.join(odd)}")
        if any(number <= 0 for number in units.values()):
            raise ValueError("numbers above zero")
        return units

    @model_validator(mode="after")
    def _ordered(self) -> Policy:
        if not self.approve_up_to <= self.decline_above <= self.loss_given_default:
            raise ValueError("approve_up_to <= decline_above <= loss_given_default")
        return self

    @cached_property
    def name(self) -> str:
        """`policy_version` on a decision: the file's version and 8 hex digits of SHA-256 over its values."""
        values = json.dumps(self.model_dump(mode="json"), sort_keys=True)
        return f"{self.version}-{hashlib.sha256(values.encode()).hexdigest()[:8]}"

    def minor_units_of_usd(self, usd: Decimal, currency: str) -> Decimal:
        """A limit stated in US dollars, in minor units of another currency (a rough size, see the file)."""
        return (usd * self.units_per_usd[currency]).scaleb(MINOR_DIGITS[currency])


class _UniqueKeys(yaml.SafeLoader):
    """YAML itself keeps the last of two equal keys, without a word."""


def _mapping(loader: _UniqueKeys, node: yaml.MappingNode) -> dict[Any, Any]:
    keys = [loader.construct_object(key) for key, _ in node.value]
    for key in keys:
        if keys.count(key) > 1:
            raise yaml.constructor.ConstructorError(None, None, f"{key} stands twice", node.start_mark)
    return loader.construct_mapping(node, deep=True)


_UniqueKeys.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)


def load_policy(path: Path | str = DEFAULT_POLICY) -> Policy:
    """Read a policy file. Raises `PolicyFileError` naming file and field."""
    try:
        text = Path(path).read_text(encoding="utf-8")
        document = yaml.load(text, _UniqueKeys)
    except (OSError, UnicodeDecodeError) as error:
        raise PolicyFileError(f"{path}: {error}") from None
    except yaml.YAMLError as error:
        raise PolicyFileError(f"{path}: not YAML: {' '.join(str(error).split())}") from None
    if not isinstance(document, dict):
        raise PolicyFileError(f"{path}: a mapping at the top level is expected")
    try:
        return Policy.model_validate(document)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        field = ".".join(str(part) for part in first["loc"]) or "thresholds"
        raise PolicyFileError(f"{path}: {field}: {first['msg'].removeprefix('Value error, ')}") from None
