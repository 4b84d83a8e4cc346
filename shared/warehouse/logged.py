"""Logged decisions as rows tell of them, to be decided again. Pure."""

from __future__ import annotations

import msgspec

from shared.contracts.events import Reason, Verdict
from shared.policy import circumstances_of
from shared.policy.backtest import LoggedCase
from shared.warehouse import views
from shared.warehouse.accepted import Row, accepted_transaction

DECIDED = (
    "d.decision, d.probability_of_default, d.degraded, TO_JSON_STRING(d.reasons) AS reasons,"
    f" IF({views.EXPLORED}, d.policy_version, NULL) AS explored_under"
)
"""What a query selects of a row `d` of the decisions, beside `TRANSACTION_COLUMNS`, `features` as JSON, `AFTERWARDS`,
and `defaulted`, which is NULL where no lender would know it."""

AFTERWARDS = "v.verdict AS reviewed, c.event_id IS NOT NULL AS cancelled"
"""Of `v` and `c` as in `views.OBSERVED`."""

_FEATURES = msgspec.json.Decoder(dict[str, float | None])
_REASONS = msgspec.json.Decoder(list[Reason] | None)


def logged_case(row: Row) -> LoggedCase:
    return LoggedCase(
        transaction=accepted_transaction(row).transaction,
        features=_FEATURES.decode(row["features"]),
        decision=Verdict(row["decision"]),
        probability=row["probability_of_default"],
        degraded=row["degraded"],
        defaulted=row["defaulted"],
        circumstances=circumstances_of(_REASONS.decode(row["reasons"] or "null") or ()),
        explored_under=row["explored_under"],
        reviewed=None if row["reviewed"] is None else Verdict(row["reviewed"]),
        cancelled=row["cancelled"],
    )
