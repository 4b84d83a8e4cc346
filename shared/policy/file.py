"""The policy file: what it may hold, and how it is read."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from shared.contracts.events import Reason, Verdict
from shared.contracts.money import MINOR_DIGITS
from shared.policy.document import Document, DocumentError, read_document
from shared.policy.expression import Condition, Domain, ExpressionError, compile_condition
from shared.policy.facts import DOMAINS, NAMES, PROHIBITED, UNDER_PSEUDONYMS, one_of
from shared.policy.reasons import PolicyReason

DEFAULT_POLICY = Path(__file__).with_name("default.yaml")


class PolicyFileError(ValueError):
    """The file can't be used. The message names the file, line and column, the field, and what was expected of it."""


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
Stricter = Annotated[Literal[Verdict.REVIEW, Verdict.DECLINE], BeforeValidator(lambda value: _verdict(value))]


def _verdict(value: Any) -> Verdict:
    if value not in (Verdict.REVIEW.value, Verdict.DECLINE.value):
        raise ValueError("review or decline: a rule can only make a verdict stricter")
    return Verdict(value)


class _Part(BaseModel):
    model_config = ConfigDict(strict=True, frozen=True, extra="forbid")


class Thresholds(_Part):
    """Limits of the loss rate."""

    approve_up_to: Exact = Field(ge=0)
    """Inclusive."""
    decline_above: Exact = Field(ge=0)
    """Exclusive; between the two a person looks."""


class Segment(Thresholds):
    """Purchases with thresholds of their own."""

    name: str = Field(pattern=r"^[a-z][a-z0-9_]*$", max_length=64)
    when: str


class Rule(_Part):
    """What makes a verdict stricter whatever the score says."""

    code: str = Field(pattern=r"^policy_[a-z0-9_]+$", max_length=64)
    when: str
    verdict: Stricter
    text: str = Field(min_length=10, max_length=300)
    """To the customer and the analyst, in plain words."""
    only_a_look: bool = False
    """It says why a person looks, and nothing against the purchase: no notice gives it as a reason."""


class ExposureLimit(_Part):
    """What a customer may owe at a time, of all that was let through."""

    limit_usd: Exact = Field(ge=0)
    beyond: Stricter

    @property
    def limit_cents(self) -> int:
        return int(self.limit_usd * 100)


class Limiter(_Part):
    """How much harm a wrong model or policy can do before people look: of one scorer process, over the last minutes."""

    window_minutes: int = Field(ge=1, le=1440)
    most_declined: Exact = Field(gt=0, le=1)
    """Share of the decisions; beyond it what the score would decline is reviewed."""
    at_least: int = Field(ge=1)
    """Decisions from which on a share means something."""
    most_approved_usd: Exact | None = Field(gt=0)
    """Approved in the window; beyond it what would be approved is reviewed. Null: no limit."""


class Exploration(_Part):
    """Would-be declines that are approved by chance, to learn from."""

    share: Exact = Field(gt=0, le=Decimal("0.5"))
    """The probability of each: its propensity."""
    salt: str = Field(min_length=8, max_length=64)
    """Known to nobody outside: who knows it can tell which purchases are chosen."""
    up_to_loss_rate: Exact = Field(gt=0, le=1)
    """Beyond it nothing is tried."""
    most_expected_loss_usd: Exact = Field(gt=0)
    """What may be lost by it in expectation, in 24 hours, of each scorer process."""


class Fallback(_Part):
    approve_up_to_usd: Exact = Field(ge=0)


class Fallbacks(_Part):
    """Who decides without a score: `default`, or another for what is missing."""

    default: Fallback
    no_model: Fallback | None = None
    model_failed: Fallback | None = None
    feature_set_mismatch: Fallback | None = None
    rebuilding: Fallback | None = None
    state_unavailable: Fallback | None = None

    def of(self, degraded: str) -> Fallback:
        found: Fallback | None = getattr(self, degraded, None)
        return found or self.default


class Policy(_Part):
    """Thresholds, rules and fallbacks; default.yaml says what each is for."""

    version: str = Field(min_length=1, max_length=32, pattern=r"^[A-Za-z0-9._-]+$")
    everything: Literal["decide", "review", "decline"]
    """The switch for an emergency: `decide` is normal operation."""
    loss_given_default: Exact = Field(gt=0, le=1)
    thresholds: Thresholds
    segments: list[Segment]
    lists: dict[str, list[str]]
    rules: list[Rule]
    exposure: ExposureLimit | None = None
    limiter: Limiter | None = None
    exploration: Exploration | None = None
    fallback: Fallbacks
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
    def _consistent(self) -> Policy:
        for part in (self.thresholds, *self.segments):
            if not part.approve_up_to <= part.decline_above <= self.loss_given_default:
                where = f"segment {part.name}" if isinstance(part, Segment) else "thresholds"
                raise ValueError(f"{where}: approve_up_to <= decline_above <= loss_given_default")
        for rule in self.rules:
            if rule.only_a_look and rule.verdict is not Verdict.REVIEW:
                raise ValueError(f"rule {rule.code}: what declines is more than a look")
        for what, names in (("segment", [s.name for s in self.segments]), ("rule", [r.code for r in self.rules])):
            twice = {name for name in names if names.count(name) > 1}
            if twice:
                raise ValueError(f"there are two of {what} {sorted(twice)[0]}")
        return self

    @cached_property
    def only_looks(self) -> frozenset[str]:
        """Codes of the rules that say why a person looks, and nothing against the purchase."""
        return frozenset(rule.code for rule in self.rules if rule.only_a_look)

    @cached_property
    def declining(self) -> frozenset[str]:
        """Codes of the reasons by which this policy declines; its other reasons only have a person look."""
        of_rules = {rule.code for rule in self.rules if rule.verdict is Verdict.DECLINE}
        if self.exposure is not None and self.exposure.beyond is Verdict.DECLINE:
            of_rules.add(PolicyReason.EXPOSURE_LIMIT.reason.code)
        if self.everything == "decline":
            of_rules.add(PolicyReason.EVERYTHING.reason.code)
        return frozenset(of_rules)

    @cached_property
    def name(self) -> str:
        """`policy_version` on a decision: the file's version and 8 hex digits of SHA-256 over its values.

        Over those that the file states: an optional part that a later release knows renames no policy of before.
        """
        values = json.dumps(self.model_dump(mode="json", exclude_unset=True), sort_keys=True)
        return f"{self.version}-{hashlib.sha256(values.encode()).hexdigest()[:8]}"

    def minor_units_of_usd(self, usd: Decimal, currency: str) -> Decimal:
        """A limit stated in US dollars, in minor units of another currency (a rough size, see the file)."""
        return (usd * self.units_per_usd[currency]).scaleb(MINOR_DIGITS[currency])

    def usd_of_minor_units(self, minor: int, currency: str) -> Decimal:
        """An amount as US dollars, of the same rough size."""
        return Decimal(minor).scaleb(-MINOR_DIGITS[currency]) / self.units_per_usd[currency]

    @cached_property
    def checked(self) -> Checked:
        """Segments and rules, ready to be asked. Raises ExpressionError where a condition isn't sound."""
        return Checked(
            segments=tuple((self.condition(segment.when), segment) for segment in self.segments),
            rules=tuple(
                (self.condition(rule.when), rule.verdict, Reason(code=rule.code, text=rule.text)) for rule in self.rules
            ),
        )

    def condition(self, when: str, domains: Mapping[str, Domain] | None = None) -> Condition:
        """The compiled condition of a segment or rule. Raises ExpressionError for one that isn't sound."""
        lists = {name: frozenset(values) for name, values in self.lists.items()}
        return compile_condition(when, NAMES, lists, domains)


@dataclass(frozen=True, slots=True)
class Checked:
    segments: tuple[tuple[Condition, Thresholds], ...]
    rules: tuple[tuple[Condition, Verdict, Reason], ...]


def load_policy(path: Path | str = DEFAULT_POLICY, *, kept: bool = False, pseudonyms: bool = False) -> Policy:
    """Read a policy file and check all of it, conditions included. Raises `PolicyFileError`.

    `kept`: it has decided already, and is read as it decided, also where a rule of it could never hold or bears one of
    our own codes. `pseudonyms`: customers have them, and lists and conditions have to name those.
    """
    path = Path(path)
    try:
        document = read_document(path)
    except DocumentError as error:
        raise PolicyFileError(str(error)) from None
    try:
        policy = Policy.model_validate(document.values)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = tuple(first["loc"])
        message = first["msg"].removeprefix("Value error, ")
        raise _error(path, document.place(where), where, message) from None
    domains = {} if kept else {**DOMAINS, **_DEGRADED, **(UNDER_PSEUDONYMS if pseudonyms else {})}
    _check_conditions(path, policy, document, domains)
    for number, rule in enumerate(policy.rules if not kept else ()):
        if rule.code in _OWN_CODES:
            where = ("rules", number, "code")
            raise _error(path, document.place(where), where, "a code of our own, which says what no rule may say")
    return policy


_OWN_CODES = frozenset(reason.reason.code for reason in PolicyReason)
_DEGRADED = {"degraded": one_of(Fallbacks.model_fields.keys() - {"default"})}


def _check_conditions(path: Path, policy: Policy, document: Document, domains: Mapping[str, Domain]) -> None:
    conditions = {"segments": [s.when for s in policy.segments], "rules": [r.when for r in policy.rules]}
    for part, entries in conditions.items():
        for number, when in enumerate(entries):
            where = (part, number, "when")
            try:
                policy.condition(when, domains)
            except ExpressionError as error:
                message = str(error)
                if any(name in when for name in PROHIBITED):
                    message += "; age and state of residence are prohibited bases"
                raise _error(path, document.inside(where, error.column), where, message) from None


def _error(path: Path, place: tuple[int, int], where: tuple[str | int, ...], message: str) -> PolicyFileError:
    field = ".".join(str(part) for part in where) or "policy"
    return PolicyFileError(f"{path}:{place[0]}:{place[1]}: {field}: {message}")
