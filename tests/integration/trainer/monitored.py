"""A warehouse with a stream's past in it, as sink and loader write it: what a monitor looks at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from services.trainer.cli import parse
from services.trainer.commands import Trainer
from services.trainer.examples import Examples
from services.trainer.settings import TrainerSection, TrainerSettings
from services.trainer.warehouse import Warehouse
from shared.contracts.identity import from_epoch_micros
from shared.feature_definitions import FEATURE_SET_VERSION
from shared.feature_definitions.windows import MICROS_PER_DAY
from shared.model_artifact.registry import ModelRegistry
from shared.settings import BigQuerySettings
from shared.warehouse import tables
from shared.warehouse.clients import bigquery_client
from shared.warehouse.columns import Table
from shared.warehouse.schema import ensure_warehouse
from tests.research.simulated import PERIOD_US, SimulatedHistory, simulated_history
from tests.unit.trainer.synthetic import kept_features

OLDER = "0" * 16
"""The model that decided all of these."""
DECLINED = 7
"""One in so many; its outcome is nobody's to know."""
LOADED = 11
"""One in so many was loaded in bulk, and never decided."""
BATCH = 1000


def rows_of(
    examples: Examples, probability: Sequence[float], first: int = 0, *, model_version: str = OLDER
) -> dict[Table, list[dict[str, Any]]]:
    """As sink and loader write them. `first`: the number of the first row; `model_version`: who decided."""
    found: dict[Table, list[dict[str, Any]]] = {
        tables.TRANSACTIONS: [], tables.OUTCOMES: [], tables.DECISIONS: [], tables.FEATURES: []
    }  # fmt: skip
    for i, event_id in enumerate(examples.event_id):
        occurred, mature = (from_epoch_micros(int(t[i])) for t in (examples.occurred_us, examples.mature_us))
        number = first + i
        loaded = number % LOADED == 0
        place: dict[str, Any] = {"kafka_topic": "t", "kafka_partition": 0, "kafka_offset": number}
        if loaded:
            place = {"load_id": "history"}
        place["kafka_timestamp"] = occurred
        ids = {"event_id": event_id, "customer_id": examples.customer_id[i]}
        found[tables.TRANSACTIONS].append(
            ids
            | place
            | {
                "source": "simtom",
                "transaction_id": examples.transaction_id[i],
                "status": "completed",
                "occurred_at": occurred,
                "amount": f"{examples.amount[i]:.2f}",
                "currency": "USD",
                "installments_count": int((examples.mature_us[i] - examples.occurred_us[i]) // PERIOD_US),
                "product_category": "home",
            }
        )
        found[tables.OUTCOMES].append(ids | place | {"defaulted": bool(examples.label[i]), "observed_at": mature})
        made = {
            "occurred_at": occurred,
            "feature_set_version": FEATURE_SET_VERSION,
            "features": kept_features(examples, i),
        }
        if loaded:
            found[tables.FEATURES].append(ids | place | made | {"computed_at": occurred})
            continue
        found[tables.DECISIONS].append(
            ids
            | place
            | made
            | {
                "transaction_id": examples.transaction_id[i],
                "prediction_timestamp": from_epoch_micros(int(examples.occurred_us[i]) + 20_000),
                "decision": "decline" if number % DECLINED == 0 else "approve",
                "probability_of_default": float(probability[i]),
                "model_version": model_version,
                "feature_hash": f"hash-{event_id}",
                "as_of_transactions": number - 1,
                "as_of_outcomes": -1,
                "degraded": "redis_away" if number % 50 == 1 else None,
            }
        )
    return found


def write(settings: BigQuerySettings, rows: dict[Table, list[dict[str, Any]]]) -> None:
    client = bigquery_client(settings)
    for table, records in rows.items():
        for start in range(0, len(records), BATCH):
            assert not client.insert_rows_json(f"{settings.project}.{table.id}", records[start : start + BATCH])


@dataclass(frozen=True)
class Monitored:
    """A warehouse and a registry, whose champion decided all that is in the warehouse."""

    settings: BigQuerySettings
    models: Path
    version: str
    history: SimulatedHistory

    @property
    def environment(self) -> dict[str, str]:
        """For a process of the trainer that is to look at it."""
        return {
            "BIGQUERY__PROJECT": self.settings.project,
            "MODEL_REGISTRY__URI": str(self.models),
            "MODEL_REGISTRY__PUBLIC_KEYS_FILE": "",  # nobody signs here, whatever the system beside it asks for
            "TRAINER__FAMILIES": "logistic",
            "TRAINER__CHECK_DATA": "false",
            "TRAINER__REPORTS": str(self.models.parent / "reports"),
        }


def monitored(settings: BigQuerySettings, folder: Path, *, days: int = 126, daily: int = 45) -> Monitored:
    """`days`: longer than the longest plan of instalments and four weeks, so that a whole four weeks have matured."""
    ensure_warehouse(settings)
    history = simulated_history("bnpl", days, daily, seed=9)
    rows = rows_of(history.examples, history.expected_rate.tolist())
    refused = {"kafka_topic": "d", "kafka_partition": 0, "kafka_offset": 0}
    # Between purchases of the last week's whole days.
    refused_at = from_epoch_micros(int(history.examples.occurred_us.max()) - 2 * MICROS_PER_DAY)
    rows[tables.DEAD_LETTERS] = [refused | {"reason": "type", "kafka_timestamp": refused_at}]
    write(settings, rows)
    registry = ModelRegistry(str(folder / "models"))
    section = TrainerSection(reports=str(folder / "reports"), check_data=False)
    trainer = Trainer(
        TrainerSettings(bigquery=settings, trainer=section), Warehouse(settings), registry, lambda _: None
    )
    version = str(trainer.train(parse(["train", "--family", "logistic"]))["version"])
    # Only now has the champion a name.
    table = f"{settings.project}.{tables.DECISIONS.id}"
    renamed = f"UPDATE `{table}` SET model_version = '{version}' WHERE prediction_timestamp > '2000-01-01'"
    bigquery_client(settings).query(renamed).result()
    return Monitored(settings, folder / "models", version, history)
