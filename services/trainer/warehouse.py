"""What the trainer reads from and writes to BigQuery."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import cache
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec
import numpy as np
import structlog
from google.api_core.exceptions import NotFound
from google.cloud.bigquery import SchemaField
from numpy.typing import NDArray

from services.trainer.currencies import in_usd
from services.trainer.examples import Examples, TooFewExamples, TrainingRefused
from services.trainer.queries import CLOCK, WATCHED, examples_query, features_query
from services.trainer.spans import Span
from services.trainer.told import heard
from shared.contracts.identity import canonical_time, from_epoch_micros
from shared.deciding import inputs_of
from shared.google_errors import AWAY
from shared.policy.exploration import Propensity
from shared.settings import BigQuerySettings
from shared.warehouse import tables, views
from shared.warehouse.clients import CALL_TIMEOUT_S, RETRY, bigquery_client
from shared.warehouse.columns import Table
from shared.warehouse.reading import read_client
from shared.warehouse.scratch import EXPIRY

if TYPE_CHECKING:
    import pyarrow

log = structlog.get_logger()

QUERY_TIMEOUT_S = 300.0
"""For the join behind the training view, over all of history."""

CHUNK_ROWS = 20_000
"""Of JSON that is decoded at once: some hundred megabytes of Python's objects."""

LOW_RISK = "low"
"""The level that the incumbent rule approves (`source_scores.risk_level`)."""

LATELY_US = 8 * 86_400_000_000
"""Whoever looks for the latest of something looks at so much first, and at all of it only where nothing is there: asked
each half minute, years of days would be read for it."""

_FEATURE_VALUES = msgspec.json.Decoder(dict[str, float | None])


class Evaluation(msgspec.Struct, frozen=True):
    """A row of `flit_ml_raw.model_evaluations`. Times are canonical."""

    model_version: str
    family: str
    kind: str
    """`training`: the model's own test part. `matured`: what matured since. `guardrail`: the experiment that it was
    tried in was stopped. `gate`: it was put to the gates. `promotion`: a step on the ladder. `recalibration`: how
    far its probabilities were believed from a day on."""
    window_from: str
    window_to: str
    rows: int
    metrics: dict[str, float]
    detail: dict[str, Any] | None = None
    """What else is to be said, for people."""


class DriftRow(msgspec.Struct, frozen=True):
    """A row of `flit_ml.drift_metrics`. The window is the later one."""

    model_version: str
    feature: str
    score: float
    drifted: bool
    window_from: str
    window_to: str
    rows: int


Measured = TypeVar("Measured", Evaluation, DriftRow)


class WarehouseUnavailable(Exception):
    """BigQuery doesn't answer, refuses us, or has not been set up."""


@contextmanager
def as_unavailable(project: str) -> Iterator[None]:
    """Whatever the client raises there, as the one error that callers know."""
    try:
        yield
    except AWAY as error:
        raise WarehouseUnavailable(f"BigQuery project {project}: {error}") from error


class Warehouse:
    """Every method, and building it, may raise WarehouseUnavailable."""

    def __init__(self, settings: BigQuerySettings) -> None:
        self.project = settings.project
        with as_unavailable(self.project):
            self.client = bigquery_client(settings)
            self._reads = read_client(settings)

    def check(self) -> None:
        """Whether what is read and written here exists."""
        for name in (views.TRAINING_EXAMPLES.id, tables.MODEL_EVALUATIONS.id, tables.DRIFT_METRICS.id):
            try:
                self.client.get_table(f"{self.project}.{name}", retry=RETRY, timeout=CALL_TIMEOUT_S)
            except NotFound:
                raise WarehouseUnavailable(f"there is no {name}: run `python -m shared.warehouse create`") from None
            except AWAY as error:
                raise WarehouseUnavailable(f"BigQuery project {self.project}: {error}") from error

    def clock(self) -> int:
        """The stream's own time: that of its latest purchase, in microseconds. Raises TrainingRefused if there is
        none. In a replay of history it, not the wall clock, says what has matured."""
        latest = self._latest(CLOCK, time.time_ns() // 1000)
        if latest is None:
            raise TrainingRefused("the warehouse holds no purchase yet")
        return latest

    def watched_until(self, as_of_us: int) -> int:
        """When the latest outcome was observed that was known at that moment, in microseconds; 0: none was.

        Nothing matures after it. A default shows weeks before a good loan does: where outcomes stop coming in, what
        runs its course from then on has a known outcome only if it is a bad one."""
        return self._latest(WATCHED, as_of_us, as_of_us=as_of_us) or 0

    def _latest(self, sql: str, now_us: int, **bounds: int) -> int | None:
        for since_us in (now_us - LATELY_US, 0):
            latest = self.rows(sql.format(project=self.project, since_us=since_us, **bounds))["latest"][0].as_py()
            if latest is not None:
                return int(latest)
        return None

    def matured_examples(self, as_of_us: int, feature_set: str, propensity: Propensity) -> Examples:
        """Every example that counts at that moment and that a lender has seen the outcome of, made with this version of
        the features. A correction that came later is not known yet: what it corrects is.

        `propensity`: of a policy, the probability with which it approved what it approved by chance. Raises
        TooFewExamples if there is no example, or what it raises.
        """
        seen = views.latest_outcomes(f"observed_at <= TIMESTAMP_MICROS({as_of_us:d})")
        source = views.examples(seen, "LEFT JOIN").replace("{project}", self.project)
        counted = heard(source, self.watched_until(as_of_us))
        select = examples_query(self.project, feature_set, counted, "TRUE")
        found = self.examples(select, feature_set, propensity)
        if found is None:
            moment = from_epoch_micros(as_of_us)
            raise TooFewExamples(
                f"no example of the feature set {feature_set} has matured as of {moment}, on a day of which its source "
                "has told of nearly all loans"
            )
        return found[0]

    def examples(self, select: str, feature_set: str, propensity: Propensity) -> tuple[Examples, pyarrow.Table] | None:
        """The rows of an `examples_query` as examples, and without their features as they are; None where there are
        none. Of the JSON of their features no more than a batch is in memory at once. Raises what `propensity` does."""
        import pyarrow

        rows: list[pyarrow.RecordBatch] = []
        names: tuple[str, ...] = ()
        features, done = np.empty((0, 0), dtype=np.float32), 0
        with self.batches(select) as (count, batches):
            for batch in batches:
                if batch.num_rows == 0:
                    continue
                if not rows:
                    # The names are the same in all rows of one feature set, in whatever order.
                    names = tuple(sorted(_FEATURE_VALUES.decode(batch["features"][0].as_py())))
                    features = np.empty((count, len(names)), dtype=np.float32)
                features[done : done + batch.num_rows] = decoded_features(batch["features"], names)
                done += batch.num_rows
                # Copied: columns may be parts of what came in one piece, which then stayed whole.
                rows.append(batch.drop_columns(["features"]).take(np.arange(batch.num_rows)))
        assert done == len(features), f"{done} rows came of {len(features)}"
        if not rows:
            return None
        table = pyarrow.Table.from_batches(rows)
        return _examples(table, features, names, feature_set, propensity), table

    def features_between(
        self, first_us: int, last_us: int, names: Sequence[str], feature_set: str, without: Sequence[Span] = ()
    ) -> NDArray[np.float32]:
        """[n, len(names)] features that decisions were made with (of loaded purchases, would have been), or that were
        made anew of the same moment (`reprocess`), of purchases in [first, last] and in none of the times `without`,
        with or without an outcome; at most `queries.MAX_DRIFT_ROWS` of them."""
        sql = features_query(self.project, first_us, last_us, feature_set, without)
        return decoded_features(self.rows(sql)["features"], names)

    def append_evaluation(self, row: Evaluation) -> None:
        self._append(tables.MODEL_EVALUATIONS, [row])

    def append_drift(self, rows: Sequence[DriftRow]) -> None:
        self._append(tables.DRIFT_METRICS, rows)

    def rows(self, select: str) -> pyarrow.Table:
        """The rows of a query."""
        with self._kept(select) as found:
            return found.to_arrow(bqstorage_client=self._reads)

    @contextmanager
    def batches(self, select: str) -> Iterator[tuple[int, Iterator[pyarrow.RecordBatch]]]:
        """How many rows a query has, and the rows, without all of them in memory: in no order that can be counted
        on."""
        with self._kept(select) as found:
            yield found.total_rows, found.to_arrow_iterable(bqstorage_client=self._reads, max_queue_size=1)

    def columns(self, select: str) -> list[SchemaField]:
        """What a query's rows consist of."""
        with self._kept(select) as found:
            return list(found.schema)

    @contextmanager
    def _kept(self, select: str) -> Iterator[Any]:
        """The answer of a query, in a table of its own: of all ways this one reads fast from Google's service and from
        the emulator alike."""
        scratch = scratch_name(self.project)
        with as_unavailable(self.project):
            job = self.client.query(
                f"CREATE OR REPLACE TABLE `{scratch}` {EXPIRY} AS {select}", retry=RETRY, timeout=CALL_TIMEOUT_S
            )
            try:
                try:
                    job.result(timeout=QUERY_TIMEOUT_S)
                except TimeoutError:
                    # Nobody waits for it any more: it would go on reading, and be billed, all the same.
                    job.cancel(retry=RETRY, timeout=CALL_TIMEOUT_S)
                    raise
                yield self.client.list_rows(scratch, retry=RETRY, timeout=QUERY_TIMEOUT_S)
            finally:
                self.client.delete_table(scratch, not_found_ok=True, retry=RETRY, timeout=CALL_TIMEOUT_S)

    def _append(self, table: Table, rows: Sequence[Measured]) -> None:
        evaluated_at = canonical_time(datetime.now(UTC))
        records: list[dict[str, Any]] = []
        for row in rows:
            record = msgspec.to_builtins(row) | {"evaluated_at": evaluated_at}
            if "metrics" in record:
                record["metrics"] = msgspec.json.encode(record["metrics"]).decode()
            detail = record.pop("detail", None)
            if detail is not None:  # else left out, so that a table from before the column takes the row too
                record["detail"] = msgspec.json.encode(detail).decode()
            records.append(record)
        self.insert(table, records)

    def insert(self, table: Table, records: Sequence[dict[str, Any]]) -> None:
        """Append rows as the client takes them: times canonical, JSON as its text. Raises RowInvalid."""
        for record in records:
            table.check(record)
        with as_unavailable(self.project):
            # Each with an id of its own: the client's retry of a request that did arrive adds nothing.
            refused = self.client.insert_rows_json(
                f"{self.project}.{table.id}",
                list(records),
                row_ids=[uuid.uuid4().hex for _ in records],
                retry=RETRY,
                timeout=CALL_TIMEOUT_S,
            )
        if refused:
            raise WarehouseUnavailable(f"{table.id} refused rows: {refused[0]}")


def scratch_name(project: str) -> str:
    """Of a table that is gone after the work."""
    return f"{project}.{tables.ML}.scratch_trainer_{uuid.uuid4().hex}"


def _examples(
    found: pyarrow.Table,
    features: NDArray[np.float32],
    names: tuple[str, ...],
    feature_set: str,
    propensity: Propensity,
) -> Examples:
    """An outcome that isn't known counts as no default."""
    levels = found["source_risk_level"].to_pylist()
    return Examples(
        event_id=np.array(found["event_id"].to_pylist(), dtype=object),
        transaction_id=np.array(found["transaction_id"].to_pylist(), dtype=object),
        customer_id=np.array(found["customer_id"].to_pylist(), dtype=object),
        occurred_us=np.array(found["occurred_us"].to_pylist(), dtype=np.int64),
        mature_us=np.array(found["mature_us"].to_pylist(), dtype=np.int64),
        amount=in_usd(np.array(found["amount"].to_pylist(), dtype=np.float64), found["currency"].to_pylist()),
        weight=weights_of(found["explored_under"].to_pylist(), propensity),
        label=np.array([bool(bad) for bad in found["defaulted"].to_pylist()], dtype=np.int8),
        rule_approves=np.array([-1 if level is None else level == LOW_RISK for level in levels], dtype=np.int8),
        features=features,
        feature_names=names,
        feature_set_version=feature_set,
    )


def weights_of(explored_under: Sequence[str | None], propensity: Propensity) -> NDArray[np.float64]:
    """How many purchases each row stands for: 1 / the propensity of the policy that approved it by chance, else 1."""
    by_policy = {name: 1 / propensity(name) for name in set(explored_under) if name is not None}
    return np.array([1.0 if name is None else by_policy[name] for name in explored_under])


def decoded_features(rows: pyarrow.Array | pyarrow.ChunkedArray, names: Sequence[str]) -> NDArray[np.float32]:
    """[n, len(names)] values of features as JSON objects, null and absent as NaN; so is what a float32 can't hold."""
    values = np.empty((len(rows), len(names)), dtype=np.float32)
    decoder = _rows_decoder(tuple(names))
    # Chunk by chunk: as Python's objects all of them would take a hundred times the memory.
    for start in range(0, len(rows), CHUNK_ROWS):
        decoded = decoder.decode("[" + ",".join(rows.slice(start, CHUNK_ROWS).to_pylist()) + "]")
        chunk = np.array([msgspec.structs.astuple(row) for row in decoded], dtype=np.float64)
        values[start : start + len(decoded)] = inputs_of(chunk)
    return values


@cache
def _rows_decoder(names: tuple[str, ...]) -> msgspec.json.Decoder[list[msgspec.Struct]]:
    """Of a list of objects, each into its values in the order of the names: twice as fast as by a dictionary each."""
    fields = {f"f{number}": name for number, name in enumerate(names)}
    row = msgspec.defstruct("Row", [(field, float | None, None) for field in fields], rename=fields, gc=False)
    return msgspec.json.Decoder(list[row])  # type: ignore[valid-type]


def record(warehouse: Warehouse, row: Evaluation) -> None:
    """Append a row about what is done already, and can't be taken back: where it can't be written, the log says so."""
    try:
        warehouse.append_evaluation(row)
    except WarehouseUnavailable as error:
        log.error("record_not_written", version=row.model_version, kind=row.kind, reason=str(error))
