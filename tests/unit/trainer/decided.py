"""A past to replay: purchases decided by the scorer's own parts, at both doors, under models, trials and policies that
came and went, and the rows that the sink makes of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, cast

import msgspec
import numpy as np
from aiokafka import ConsumerRecord, TopicPartition

from services.scorer.decider import Decider
from services.scorer.limiter import Limiter
from services.scorer.policies import PolicyReloader, PolicySlot
from services.scorer.reserving import Reserving
from services.scorer.slot import ModelSlot
from services.scorer.stream import StreamDoor
from services.sink.pipeline import Rules, rows_of
from services.trainer.evaluate import Economics
from services.trainer.families import Conditions, Inputs, ModelFamily
from services.trainer.families.linear import Logistic
from services.trainer.families.xgboost_trees import XGBoostTrees
from services.trainer.workflow import Plan, train_and_register
from shared.contracts import topics
from shared.contracts.events import AsOf, FeatureVector, VectorState, encode
from shared.contracts.identity import EPOCH, partition_of
from shared.contracts.pseudonyms import OFF, Pseudonyms
from shared.contracts.transactions import Limits
from shared.deciding import ModelFailed, Scores
from shared.deciding.onnx_model import OnnxModel
from shared.experiments import Arm, Experiment
from shared.feature_definitions import FEATURE_SET_VERSION, MODEL_FEATURES, feature_hash
from shared.feature_definitions.replay import replay
from shared.kafka.refusal_limit import RefusalLimit
from shared.model_artifact.registry import ModelRegistry
from shared.policy import DEFAULT_POLICY, load_policy
from shared.warehouse.columns import Row, Table
from tests.research.simulated import SimulatedHistory
from tests.unit.scorer.fakes import FakeClaims, FakeExposures, FakeSender
from tests.unit.scorer.parts import register
from tests.unit.sink.records import PARTITIONS, LogRecord

OLD_SET = "0-before"
OLD_FEATURES = ("amount", "tenure_days", "credit_score_rank", "device_trusted", "purchases_24h")
CHUNKS = (1, 2, 7, 64)
"""Of the stream: what a decision shares its batch with is chance."""
EVERY_THIRD_OVER_REST = 3

PACE = timedelta(milliseconds=37, microseconds=11)

PHONES = """segments:
  - {name: phones, when: "device_type == 'mobile'", approve_up_to: "0.02", decline_above: "0.03"}
"""
CHANCE = """exploration:
  {share: "0.5", salt: salt-of-tests, up_to_loss_rate: "1", most_expected_loss_usd: "100000"}
"""
STRICT = (
    DEFAULT_POLICY.read_text()
    .replace('\nversion: "', '\nversion: "strict-')
    .replace('limit_usd: "2000"', 'limit_usd: "120"')
    .replace("segments: []\n", PHONES)
    .replace("exploration: null\n", CHANCE)
    .replace("amount_usd > 1000", "amount_usd > 150 or customer_tenure_days < 60")
)
LIMITED = (
    STRICT.replace("at_least: 500", "at_least: 10")
    .replace('most_declined: "0.75"', 'most_declined: "0.001"')
    .replace("most_approved_usd: null", 'most_approved_usd: "300"')
)
EMERGENCY = STRICT.replace("everything: decide", "everything: decline")
TRIAL = Experiment(
    "trial", "salt", [Arm("canary", 0.4, "b" * 16), Arm("third", 0.3, "c" * 16)], "2026-06-01T00:00:00.000000Z", "test"
)


class Failing:
    """A model that breaks down, or gives every other purchase no number."""

    version = "f" * 16
    feature_names = OLD_FEATURES
    feature_set_version = FEATURE_SET_VERSION

    def __init__(self, *, altogether: bool) -> None:
        self._altogether = altogether

    def score(self, matrix: Any) -> Scores:
        if self._altogether:
            raise ModelFailed("out of memory")
        return Scores(np.full(len(matrix), np.nan), np.zeros(matrix.shape))


@dataclass
class Models:
    """Trained as the trainer trains them, and one small one of an earlier feature set."""

    linear: OnnxModel
    boosted: OnnxModel
    other: OnnxModel
    old: OnnxModel


def trained(registry: ModelRegistry, history: SimulatedHistory) -> Models:
    plan = Plan(0.2, 0.2, Economics(0.03, 0.6), seed=1)
    as_of = int(history.examples.mature_us.max())

    everything = Inputs("all", MODEL_FEATURES)

    def of(candidate: ModelFamily) -> OnnxModel:
        done = train_and_register(history.examples, as_of, [candidate], plan, registry, promote=False)
        return OnnxModel(registry.load(done.manifest.version))

    old = register(registry, names=OLD_FEATURES, feature_set_version=OLD_SET)
    return Models(
        linear=of(Logistic(everything, Conditions(seed=1, threads=1))),
        boosted=of(XGBoostTrees(everything, Conditions(seed=1, threads=1), depth=3)),
        other=of(XGBoostTrees(everything, Conditions(seed=2, threads=1))),
        old=OnnxModel(registry.load(old)),
    )


def vectors_of(history: SimulatedHistory, pseudonyms: Pseudonyms) -> Iterator[tuple[FeatureVector, LogRecord]]:
    """Each purchase's vector, and the purchase as its producer sent it."""
    for purchase, features in replay(history.purchases, history.outcomes):
        assert features is not None
        sent = purchase.accepted.transaction
        transaction = pseudonyms.transaction(purchase.accepted).transaction
        vector = FeatureVector(
            event_id=sent.event_id,
            customer_id=transaction.customer_id,
            occurred_at=sent.occurred_at,
            feature_set_version=FEATURE_SET_VERSION,
            features=features,
            feature_hash=feature_hash(features),
            as_of=AsOf(transactions=purchase.offset - 1, outcomes=purchase.outcomes_seen),
            transaction=transaction,
            computed_at=sent.occurred_at,
        )
        key = sent.customer_id.encode()
        place = partition_of(key, PARTITIONS)
        when = purchase.accepted.occurred_us // 1000
        yield vector, LogRecord(topics.TRANSACTIONS.name, place, purchase.offset, when, key, encode(sent))


class Desk:
    """The scorer's parts, with what is in service put there by hand."""

    def __init__(self, registry: ModelRegistry, folder: Path, started: datetime, pace: timedelta) -> None:
        self.slot, self._file = ModelSlot(), folder / "policy.yaml"
        self._file.write_bytes(DEFAULT_POLICY.read_bytes())
        self._policies = PolicySlot(load_policy(self._file))
        self._reloader = PolicyReloader(self._file, self._policies, registry, interval_s=1)
        self._reloader.look()
        self._now, self._pace = started, pace
        self._decider = Decider(self.slot, self._policies, self._clock)
        self._exposures, self._limiter = FakeExposures(), Limiter()

    def policy(self, text: str) -> None:
        self._file.write_text(text)
        assert self._reloader.look()

    def _clock(self) -> datetime:
        self._now += self._pace
        return self._now

    async def decide(self, vectors: Sequence[FeatureVector], chunk: int) -> dict[str, bytes]:
        """Event → the record's value."""
        sender = FakeSender()
        door = StreamDoor(
            self._decider,
            FakeClaims(),
            sender,
            self._exposures,
            limiter=self._limiter,
            confirm=_ready,
            refusals=RefusalLimit(1, 0),
            halt_seconds=60,
            chunk_records=chunk,
        )
        streamed = [vector for i, vector in enumerate(vectors) if i % EVERY_THIRD_OVER_REST]
        batch = [
            ConsumerRecord(
                topics.FEATURES.name, 0, i, 0, 0, vector.customer_id.encode(), encode(vector), None, 0, 0, []
            )
            for i, vector in enumerate(streamed)
        ]
        await door.handle({TopicPartition(topics.FEATURES.name, 0): batch})
        checkout = Reserving(self._decider, self._exposures, self._limiter)
        values = sender.on(topics.DECISIONS.name)
        for vector in vectors[::EVERY_THIRD_OVER_REST]:
            placed = checkout.place(0, vector.transaction)
            [asked] = await checkout.decide([(placed, vector)], "rest")
            checkout.note(placed, asked)
            values.append(encode(asked))
        return {msgspec.json.decode(value)["event_id"]: value for value in values}


async def _ready() -> None:
    return None


Change = Callable[[FeatureVector], FeatureVector]


def scenes(desk: Desk, models: Models) -> Iterator[Change | None]:
    """One state of affairs after the other; what a scene changes of the vectors that come in it."""
    slot = desk.slot
    yield None  # no model yet
    slot.put(models.linear)
    yield None
    slot.try_out([models.boosted, models.other], None, {})
    yield None
    slot.try_out([models.linear, models.boosted], TRIAL, {"canary": models.boosted, "third": models.other})
    yield None
    desk.policy(STRICT)
    slot.put(models.boosted, models.linear)
    yield None
    desk.policy(LIMITED)
    yield None
    desk.policy(EMERGENCY)
    slot.try_out([models.other, cast(OnnxModel, Failing(altogether=True))], None, {})
    yield None
    desk.policy(DEFAULT_POLICY.read_text())
    yield lambda vector: msgspec.structs.replace(vector, state=VectorState.REBUILDING)
    yield lambda vector: msgspec.structs.replace(vector, feature_set_version="1-after")
    slot.put(models.linear, models.old)
    yield lambda vector: msgspec.structs.replace(vector, feature_set_version=OLD_SET)
    slot.put(cast(OnnxModel, Failing(altogether=True)))
    yield None
    slot.put(cast(OnnxModel, Failing(altogether=False)))
    yield None


SCENES = 12


@dataclass(frozen=True)
class Past:
    purchases: list[LogRecord]
    decisions: list[LogRecord]

    def rows(self, pseudonyms: Pseudonyms = OFF) -> dict[Table, list[Row]]:
        """As the sink writes them, without links."""
        rules = Rules(PARTITIONS, Limits(), pseudonyms)
        found: dict[Table, list[Row]] = {}
        for record in (*self.purchases, *self.decisions):
            for table, row in rows_of(record, rules):
                found.setdefault(table, []).append(row)
        return found


async def decided(
    registry: ModelRegistry,
    models: Models,
    history: SimulatedHistory,
    count: int,
    folder: Path,
    key: bytes = b"",
    *,
    started: datetime | None = None,
    pace: timedelta = PACE,
) -> Past:
    """`count` of the history's latest purchases, in as many scenes as there are. `key`: of pseudonyms. `started`: when
    the deciding began (default: with the last purchase); `pace`: how far apart it looks at the clock."""
    vectors = list(vectors_of(history, Pseudonyms(key)))[-count:]
    latest = max(datetime.fromisoformat(vector.occurred_at) for vector, _ in vectors)
    desk = Desk(registry, folder, started or latest, pace)
    values: dict[str, bytes] = {}
    share = -(-len(vectors) // SCENES)
    for number, change in enumerate(scenes(desk, models)):
        mine = [vector for vector, _ in vectors[number * share : (number + 1) * share]]
        values |= await desk.decide([change(vector) if change else vector for vector in mine], CHUNKS[number % 4])
    ends: Counter[int] = Counter()
    decisions = []
    for vector, purchase in vectors:
        value = values[vector.event_id]
        when = datetime.fromisoformat(msgspec.json.decode(value)["decided_at"])
        decisions.append(
            LogRecord(
                topics.DECISIONS.name,
                purchase.partition,
                ends[purchase.partition],
                int((when - EPOCH).total_seconds() * 1000) + 3,
                vector.customer_id.encode(),
                value,
            )
        )
        ends[purchase.partition] += 1
    return Past([purchase for _, purchase in vectors], decisions)
