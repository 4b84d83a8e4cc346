"""How much stricter than the champion a candidate is that passed the gates.

Where the risk has risen a better model declines more: it passed since it earns more so. A guardrail that compared it
with the champion alone would throw it out for being right. So both are asked about customers of the last week, and what
the candidate declines more of them is what was accepted; live, guardrails look for what goes beyond.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence

import structlog

from services.trainer.archive import Archive, NotKept
from services.trainer.promotion.customers import Asked, asked
from services.trainer.rescore import probabilities
from services.trainer.warehouse import Warehouse
from shared.contracts.events import Verdict
from shared.experiments import Stricter
from shared.feature_definitions.windows import MICROS_PER_DAY
from shared.model_artifact.files import ModelFiles
from shared.model_artifact.registry import ModelRegistry
from shared.policy import DEFAULT_POLICY, Policy, apply, load_policy
from shared.warehouse import tables, views

log = structlog.get_logger()

DAYS = 7
"""The latest: as the risk is now, over a whole week, whose days differ."""

_POLICY = f"""
SELECT policy_version FROM `{{project}}.{tables.DECISIONS.id}`
WHERE {views.decided_since("{since_us}")}
  AND occurred_at >= TIMESTAMP_MICROS({{since_us}}) AND occurred_at < TIMESTAMP_MICROS({{until_us}})
ORDER BY prediction_timestamp DESC LIMIT 1
"""

StricterThan = Callable[[str, str], Stricter]
"""Of a candidate, and the champion. May raise WarehouseUnavailable, ArtifactRefused."""


def no_stricter(candidate: str, champion: str) -> Stricter:
    """Guardrails compare with the champion alone."""
    return Stricter()


def told(stricter: Stricter) -> str:
    """For people, among the reasons of its entry."""
    return (
        f"stricter: {stricter.declined:.1%} more of the last week's customers declined than by the champion, "
        f"{stricter.not_approved:.1%} fewer approved; guardrails look for what goes beyond that"
    )


def of_warehouse(warehouse: Warehouse, registry: ModelRegistry, as_of_us: int) -> StricterThan:
    """By the purchases of the week before that moment, and the policy that decided last in it."""
    until_us = as_of_us + 1
    since_us = until_us - DAYS * MICROS_PER_DAY

    def stricter(candidate: str, champion: str) -> Stricter:
        policy = _policy_of(warehouse, registry, since_us, until_us)
        if policy is None:
            return Stricter()
        mine, other = (registry.load(version) for version in (candidate, champion))
        sets = sorted({each.manifest.feature_set_version for each in (mine, other)})
        return compared(
            pair
            for some in asked(warehouse, since_us, until_us, sets)
            for pair in zip(verdicts(some, mine, policy), verdicts(some, other, policy), strict=True)
        )

    return stricter


def verdicts(some: Sequence[Asked], files: ModelFiles, policy: Policy) -> list[Verdict]:
    """What the policy would say of each, with the model's probability."""
    features = [each.features[files.manifest.feature_set_version] for each in some]
    return [
        apply(policy, each.transaction, known, probability, None).decision
        for each, known, probability in zip(some, features, probabilities(features, files), strict=True)
    ]


def compared(pairs: Iterable[tuple[Verdict, Verdict]]) -> Stricter:
    """What the candidate and the champion would have decided of each customer."""
    counts = Counter(pairs)
    if not counts:
        return Stricter()

    def more(is_so: Callable[[Verdict], bool]) -> float:
        difference = sum(count * (is_so(one) - is_so(another)) for (one, another), count in counts.items())
        return max(0.0, difference / counts.total())

    return Stricter(
        more(lambda verdict: verdict is Verdict.DECLINE), more(lambda verdict: verdict is not Verdict.APPROVE)
    )


def _policy_of(warehouse: Warehouse, registry: ModelRegistry, since_us: int, until_us: int) -> Policy | None:
    """None where nothing was decided, or its policy isn't kept."""
    sql = _POLICY.format(project=warehouse.project, since_us=since_us, until_us=until_us)
    names: Sequence[str] = warehouse.rows(sql)["policy_version"].to_pylist()
    if not names:
        return None
    try:
        return Archive(registry, [load_policy(DEFAULT_POLICY)]).policy(names[0])
    except NotKept as missing:
        log.warning("policy_not_kept", policy=names[0], reason=str(missing))
        return None
