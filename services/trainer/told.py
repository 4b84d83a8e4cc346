"""Of which loans outcomes count, as SQL: of those that ran their course on a day of which their source has told.

A default is told weeks before a good loan is. Where a source has gone silent, or what it told in some days was lost,
the loans that ran their course then are known where they went bad, and not where they were repaid.
"""

from __future__ import annotations

from services.trainer.examples import MOST_UNTOLD, TOLD_BY_FEW, UNTOLD_BY_CHANCE
from shared.feature_definitions.windows import MICROS_PER_DAY

_SOURCE, _DAY = "COALESCE(lent.source, '')", f"DIV(UNIX_MICROS(lent.mature_at), {MICROS_PER_DAY})"
_HEARD = (
    "mature_at <= told_until AND observed_at IS NOT NULL"
    f" AND loans - told <= GREATEST({UNTOLD_BY_CHANCE}, {MOST_UNTOLD} * loans)"
)


def loans(source: str, until_us: int) -> str:
    """What was lent of a query's examples, each with `told_last`, when its source told last (NULL: it never has), and
    `heard`, whether its outcome counts at that moment.

    `source`: with the columns of the view of training examples; those without an outcome too, since they tell of which
    days their source has not told. A source that has told of fewer than `TOLD_BY_FEW` is held against the clock of all:
    its last loan would count where it was repaid, and not where it wasn't.

    What is counted of sources and days is joined to the rows: as a window over them all of a source's rows, features
    included, would have to fit into one worker of BigQuery's.
    """
    until = f"TIMESTAMP_MICROS({until_us:d})"
    return f"""(
  WITH lent AS ({source}),
  sources AS (
    SELECT {_SOURCE} AS name, MAX(observed_at) AS told_last,
      IF(COUNT(observed_at) < {TOLD_BY_FEW}, {until}, LEAST(MAX(observed_at), {until})) AS told_until
    FROM lent GROUP BY name
  ),
  days AS (
    SELECT sources.name, {_DAY} AS day, COUNT(*) AS loans, COUNT(lent.observed_at) AS told
    FROM lent JOIN sources ON sources.name = {_SOURCE}
    WHERE lent.observed AND lent.mature_at <= sources.told_until
    GROUP BY name, day
  )
  SELECT lent.*, sources.told_last, COALESCE({_HEARD}, FALSE) AS heard
  FROM lent
  JOIN sources ON sources.name = {_SOURCE}
  LEFT JOIN days ON days.name = sources.name AND days.day = {_DAY}
  WHERE lent.observed)"""


def heard(source: str, until_us: int) -> str:
    """The examples among `loans` whose outcome counts at that moment: matured, and as good as all of their day told
    of."""
    return f"(SELECT * FROM {loans(source, until_us)} WHERE heard)"
