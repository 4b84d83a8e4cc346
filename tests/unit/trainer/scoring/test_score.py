"""`score` over Parquet: the scorer's own numbers, and nothing for what it can't answer."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import numpy as np
import pyarrow
import pyarrow.compute
import pyarrow.parquet
import pytest

from services.trainer.cli import parse
from services.trainer.examples import Examples, TrainingRefused
from services.trainer.score_command import Scoring
from services.trainer.scoring import run
from services.trainer.scoring.columns import InputRefused, columns_of
from services.trainer.settings import TrainerSettings
from services.trainer.warehouse import Warehouse
from shared.deciding.onnx_model import OnnxModel
from shared.model_artifact.registry import ModelRegistry
from tests.unit.trainer.scoring.scorable import decisions, features_of, in_json, some_examples, trained, write

SMALL_BATCH = 100


@pytest.fixture(scope="module")
def examples() -> Examples:
    return some_examples()


@pytest.fixture(scope="module")
def registries(examples: Examples, tmp_path_factory: pytest.TempPathFactory) -> dict[str, ModelRegistry]:
    made = {}
    for family in ("logistic", "xgboost"):
        made[family] = ModelRegistry(str(tmp_path_factory.mktemp(family)))
        trained(examples, family, made[family])
    return made


@pytest.fixture
def registry(registries: dict[str, ModelRegistry]) -> ModelRegistry:
    return registries["xgboost"]


@pytest.fixture(autouse=True)
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that a few hundred rows are many batches."""
    monkeypatch.setattr(run, "BATCH_ROWS", SMALL_BATCH)


def score(registry: ModelRegistry, source: Path, output: Path, *more: str) -> dict[str, Any]:
    no_warehouse = cast(Warehouse, None)
    command = Scoring(TrainerSettings(), no_warehouse, registry, lambda _: None)
    return command.score(parse(["score", "--input", str(source), "--output", str(output), *more]))


def rows(path: Path) -> dict[str, list[Any]]:
    found: dict[str, list[Any]] = pyarrow.parquet.read_table(path).to_pydict()
    return found


@pytest.mark.parametrize("family", ["logistic", "xgboost"])
def test_the_numbers_are_those_of_the_decisions_bit_for_bit(
    registries: dict[str, ModelRegistry], examples: Examples, tmp_path: Path, family: str
) -> None:
    registry = registries[family]
    made = decisions(registry, list(examples.event_id), features_of(examples))
    assert {decision.degraded for decision in made} == {None}
    answer = score(registry, write(tmp_path / "in.parquet", examples.to_arrow()), tmp_path / "out.parquet")
    found = rows(tmp_path / "out.parquet")
    assert found["event_id"] == [decision.event_id for decision in made]
    assert found["probability_of_default"] == [decision.probability_of_default for decision in made]
    assert set(found["model_version"]) == {registry.current()} == {answer["model_version"]}
    assert answer["rows"] == len(examples)


def test_raw_probabilities_become_the_calibrated_ones(
    registry: ModelRegistry, examples: Examples, tmp_path: Path
) -> None:
    answer = score(registry, write(tmp_path / "in.parquet", examples.to_arrow()), tmp_path / "out.parquet")
    found = rows(tmp_path / "out.parquet")
    calibration = registry.load(answer["model_version"]).manifest.calibration
    raw = np.array(found["raw_probability"])
    assert calibration.apply(raw).tolist() == found["probability_of_default"]
    assert (calibration.apply(raw) != raw).any()


def test_keys_of_the_input_go_through(registry: ModelRegistry, examples: Examples, tmp_path: Path) -> None:
    score(registry, write(tmp_path / "in.parquet", examples.to_arrow()), tmp_path / "out.parquet")
    assert list(rows(tmp_path / "out.parquet")) == [
        *("event_id", "transaction_id", "customer_id", "occurred_us"),
        *("model_version", "raw_probability", "probability_of_default"),
    ]


def test_features_in_json_give_the_same(registry: ModelRegistry, examples: Examples, tmp_path: Path) -> None:
    score(registry, write(tmp_path / "columns.parquet", examples.to_arrow()), tmp_path / "a.parquet")
    score(registry, write(tmp_path / "json.parquet", in_json(examples)), tmp_path / "b.parquet")
    assert rows(tmp_path / "a.parquet")["raw_probability"] == rows(tmp_path / "b.parquet")["raw_probability"]


def test_numbers_of_any_kind_are_taken(registry: ModelRegistry, examples: Examples, tmp_path: Path) -> None:
    table = examples.to_arrow()
    wider = table.cast(
        pyarrow.schema(
            [
                field.with_type(pyarrow.float64()) if field.type == pyarrow.float32() else field
                for field in table.schema
            ],
            metadata=table.schema.metadata,
        )
    )
    whole = "feature_installment_count"
    place = wider.schema.get_field_index(whole)
    wider = wider.set_column(place, whole, wider[whole].cast(pyarrow.int64()))
    score(registry, write(tmp_path / "narrow.parquet", table), tmp_path / "a.parquet")
    score(registry, write(tmp_path / "wide.parquet", wider), tmp_path / "b.parquet")
    assert rows(tmp_path / "a.parquet") == rows(tmp_path / "b.parquet")


def test_rows_of_erased_customers_are_left_out_and_counted(
    registry: ModelRegistry, examples: Examples, tmp_path: Path
) -> None:
    table = in_json(examples)
    texts = table["features"].to_pylist()
    texts[0], texts[-1] = None, "{}"
    table = table.set_column(2, "features", pyarrow.array(texts))
    answer = score(registry, write(tmp_path / "in.parquet", table), tmp_path / "out.parquet")
    assert (answer["rows"], answer["left_out"]) == (len(examples) - 2, 2)
    assert rows(tmp_path / "out.parquet")["event_id"] == list(examples.event_id[1:-1])


def test_an_input_without_rows_gives_an_output_without_rows(
    registry: ModelRegistry, examples: Examples, tmp_path: Path
) -> None:
    answer = score(registry, write(tmp_path / "in.parquet", examples.to_arrow().slice(0, 0)), tmp_path / "out.parquet")
    assert answer["rows"] == 0
    assert "probability_of_default" in rows(tmp_path / "out.parquet")


Change = Callable[[pyarrow.Table], pyarrow.Table]


def _with(name: str, values: Callable[[pyarrow.Table], Any]) -> Change:
    return lambda table: table.append_column(name, values(table))


def _instead(name: str, values: Callable[[pyarrow.Table], Any]) -> Change:
    return lambda table: table.set_column(table.schema.get_field_index(name), name, values(table))


def _texts(table: pyarrow.Table) -> Any:
    return pyarrow.array(["text"] * table.num_rows)


def _sets(last: str | None) -> Callable[[pyarrow.Table], Any]:
    def values(table: pyarrow.Table) -> Any:
        own = table.schema.metadata[b"feature_set_version"].decode()
        return pyarrow.array([own] * (table.num_rows - 1) + [last])

    return values


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda table: table.drop_columns(["event_id"]), "column event_id is missing"),
        (lambda table: table.drop_columns(["feature_amount"]), "column feature_amount is missing"),
        (_with("feature_amuont", _texts), "column feature_amuont is no feature"),
        (_with("shoe_size", _texts), "column shoe_size is no feature of the set"),
        (_with("feature_amount", lambda table: table["feature_amount"]), "column feature_amount is there twice"),
        (_instead("feature_amount", _texts), "column feature_amount holds string, not numbers"),
        (_instead("event_id", lambda table: table["occurred_us"]), "column event_id holds int64, not text"),
        (lambda table: table.replace_schema_metadata(None), "column feature_set_version is missing"),
        (lambda table: table.replace_schema_metadata({"feature_set_version": "0-old"}), "feature set '0-old'"),
        (
            _with("feature_set_version", _sets("0-old")),
            "column feature_set_version: a row is of the feature set '0-old'",
        ),
        (_with("feature_set_version", _sets(None)), "column feature_set_version: a row is of the feature set None"),
        (
            _instead("event_id", lambda table: pyarrow.array([None, *table["event_id"].to_pylist()[1:]])),
            "column event_id: empty in some row",
        ),
    ],
)
def test_an_input_that_the_model_can_not_be_asked_about_is_refused_by_the_name_of_its_column(
    registry: ModelRegistry, examples: Examples, tmp_path: Path, change: Change, named: str
) -> None:
    source = write(tmp_path / "in.parquet", change(examples.to_arrow()))
    with pytest.raises(InputRefused, match=named.replace("(", r"\(")):
        score(registry, source, tmp_path / "out.parquet")
    assert [path.name for path in tmp_path.iterdir()] == ["in.parquet"]


@pytest.mark.parametrize(
    ("features", "named"),
    [
        ('{"amount": 1.0}', "column features: a row has no feature"),
        ('{"amount": "much"}', "column features: Expected"),
        ("[1.0]", "column features: Expected"),
    ],
)
def test_json_that_is_no_vector_of_the_set_is_refused(
    registry: ModelRegistry, examples: Examples, tmp_path: Path, features: str, named: str
) -> None:
    table = in_json(examples)
    table = table.set_column(2, "features", pyarrow.array([*table["features"].to_pylist()[:-1], features]))
    with pytest.raises(InputRefused, match=named):
        score(registry, write(tmp_path / "in.parquet", table), tmp_path / "out.parquet")
    assert not (tmp_path / "out.parquet").exists()


def test_a_run_that_fails_at_its_last_row_leaves_what_was_there_before(
    registry: ModelRegistry, examples: Examples, tmp_path: Path
) -> None:
    good = write(tmp_path / "good.parquet", examples.to_arrow())
    bad = write(tmp_path / "bad.parquet", _with("feature_set_version", _sets("0-old"))(examples.to_arrow()))
    score(registry, good, tmp_path / "out.parquet")
    before = (tmp_path / "out.parquet").read_bytes()
    with pytest.raises(InputRefused):
        score(registry, bad, tmp_path / "out.parquet", "--replace")
    assert (tmp_path / "out.parquet").read_bytes() == before
    assert len(list(tmp_path.iterdir())) == 3


def test_an_output_that_is_there_is_replaced_only_on_demand(
    registry: ModelRegistry, examples: Examples, tmp_path: Path
) -> None:
    source = write(tmp_path / "in.parquet", examples.to_arrow())
    score(registry, source, tmp_path / "out.parquet")
    with pytest.raises(TrainingRefused, match="is there already"):
        score(registry, source, tmp_path / "out.parquet")
    score(registry, source, tmp_path / "out.parquet", "--replace")


def test_what_is_no_parquet_is_refused(registry: ModelRegistry, tmp_path: Path) -> None:
    (tmp_path / "in.parquet").write_text("no")
    for name in ("in.parquet", "absent.parquet"):
        with pytest.raises(InputRefused, match="can't be read"):
            score(registry, tmp_path / name, tmp_path / "out.parquet")


@pytest.mark.parametrize("place", ["out", "one.two.three", "flit_ml.x; DROP TABLE y"])
def test_an_output_that_is_neither_file_nor_table_is_no_argument(place: str) -> None:
    with pytest.raises(SystemExit):
        parse(["score", "--input", "in.parquet", "--output", place])


@pytest.mark.parametrize("threads", [1, 3])
def test_no_more_batches_are_in_memory_than_threads_and_those_that_wait(
    registry: ModelRegistry, examples: Examples, threads: int
) -> None:
    table = examples.to_arrow()
    version = registry.current()
    assert version is not None
    model = OnnxModel(registry.load(version))
    columns = columns_of(table.schema, model)
    read = most = done = 0
    lock = threading.Lock()

    def batches() -> Iterator[pyarrow.RecordBatch]:
        nonlocal read, most
        for batch in table.select(columns.needed).to_batches(max_chunksize=SMALL_BATCH):
            with lock:
                read += 1
                most = max(most, read - done)
            yield batch

    for _ in run.scored(batches(), columns, model, threads):
        done += 1
    assert read == done >= 10
    assert most <= threads + run.AHEAD
