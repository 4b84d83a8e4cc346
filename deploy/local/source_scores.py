"""The ceiling for a simtom elsewhere: what it tosses with stays there, but its score stands in each of its events.

The expected rate follows from the score by simtom's law (`services.simulator.law`, solved from recorded events to the
last bit). Only the evaluation sees it: no feature and no model is made from the source's own answer.
"""

from __future__ import annotations

import json
from pathlib import Path

from google.cloud import bigquery

from services.simulator.law import expected_rate

TIMEOUT_SECONDS = 120

SQL = """
SELECT transaction_id, customer_id, occurred_at, source_scores_risk_score AS score
FROM `{project}.flit_bnpl_raw.transactions`
WHERE source_scores_risk_score IS NOT NULL
"""


def write_expected_rates(client: bigquery.Client, path: Path) -> int:
    """Write the trainer's evaluation-only file from the purchases in the warehouse; return how many."""
    rows = client.query(SQL.format(project=client.project), timeout=TIMEOUT_SECONDS).result(
        timeout=TIMEOUT_SECONDS, page_size=20_000
    )
    written = 0
    with path.open("w") as lines:
        for row in rows:
            event = {
                "transaction_id": row.transaction_id,
                # The source's own id: what the ingestor put behind it tells apart whom the source didn't.
                "customer_id": row.customer_id.split("-")[0],
                "timestamp": row.occurred_at.isoformat(),
                "expected_rate": expected_rate(float(row.score)),
            }
            lines.write(json.dumps(event) + "\n")
            written += 1
    return written
