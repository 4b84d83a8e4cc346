from __future__ import annotations

import inspect
import json
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from services.trainer import train, workflow
from services.trainer.ceiling import ceiling, read_hidden
from services.trainer.evaluate import auc
from services.trainer.examples import Examples, TrainingRefused
from tests.unit.trainer.synthetic import synthetic_examples


def write(path: Path, examples: Examples, rates: np.typing.NDArray[np.float64]) -> Path:
    with path.open("w") as file:
        for i, rate in enumerate(rates):
            moment = datetime.fromtimestamp(examples.occurred_us[i] / 1e6, UTC).replace(tzinfo=None).isoformat()
            row = {
                "transaction_id": examples.transaction_id[i],
                "customer_id": examples.customer_id[i],
                "timestamp": moment,
                "expected_rate": rate,
                "probability": 0.5,
            }
            file.write(json.dumps(row) + "\n")
    return path


@pytest.fixture
def examples() -> Examples:
    return synthetic_examples(600)


def rates_of(examples: Examples) -> np.typing.NDArray[np.float64]:
    return 0.02 + 0.05 * (4 - examples.features[:, 1].astype(np.float64))


def test_the_ceiling_is_the_auc_of_the_rate_that_was_tossed_with(examples: Examples, tmp_path: Path) -> None:
    rates = rates_of(examples)
    found = ceiling(examples, rates / 2, read_hidden(write(tmp_path / "hidden", examples, rates)))
    assert found.auc == found.model_auc == auc(examples.label, rates)
    assert (found.events, found.unknown) == (600, 0)


def test_a_customer_told_apart_by_the_ingestor_is_found_under_the_sources_id(
    examples: Examples, tmp_path: Path
) -> None:
    path = write(tmp_path / "hidden", examples, rates_of(examples))
    examples.customer_id[:] = [f"{customer}-f6e48da5" for customer in examples.customer_id]
    assert ceiling(examples, np.zeros(600), read_hidden(path)).unknown == 0


def test_both_figures_are_of_the_same_events_where_the_file_knows_only_some(examples: Examples, tmp_path: Path) -> None:
    rates = rates_of(examples)
    found = ceiling(examples, rates, read_hidden(write(tmp_path / "hidden", examples, rates[:400])))
    assert (found.events, found.unknown) == (400, 200)
    assert found.model_auc == auc(examples.label[:400], rates[:400])


def test_the_same_ids_at_another_moment_are_another_event(examples: Examples, tmp_path: Path) -> None:
    hidden = read_hidden(write(tmp_path / "hidden", examples, rates_of(examples)))
    examples.occurred_us[:] += 1
    with pytest.raises(TrainingRefused, match="another run"):
        ceiling(examples, np.zeros(600), hidden)


def test_a_key_that_two_streams_share_names_no_event(examples: Examples, tmp_path: Path) -> None:
    path = write(tmp_path / "hidden", examples, rates_of(examples))
    line = json.loads(path.read_text().splitlines()[0])
    path.write_text(path.read_text() + json.dumps(line | {"expected_rate": 0.9}) + "\n" + json.dumps(line) + "\n")
    assert len(read_hidden(path)) == 599


@pytest.mark.parametrize("content", ["{}", "not json", '{"transaction_id": 3}'])
def test_a_file_of_something_else_is_refused_by_name(tmp_path: Path, content: str) -> None:
    path = tmp_path / "hidden.jsonl"
    path.write_text(content)
    with pytest.raises(TrainingRefused, match=r"hidden\.jsonl"):
        read_hidden(path)
    with pytest.raises(TrainingRefused):
        read_hidden(tmp_path / "absent")


def test_what_trains_and_chooses_does_not_know_the_ceiling() -> None:
    for module in (train, workflow):
        assert "ceiling" not in inspect.getsource(module)
