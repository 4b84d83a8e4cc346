"""What was decided once is decided again, byte for byte, and what is not is said."""

from __future__ import annotations

import asyncio
import hashlib
import json
import shutil
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from services.trainer.archive import Archive
from services.trainer.cli import parse
from services.trainer.replay import Replayed, replay, summary, told
from services.trainer.stored import StoredDecision, stored_decision
from shared.contracts.identity import EPOCH
from shared.contracts.pseudonyms import Pseudonyms
from shared.model_artifact.registry import ModelRegistry
from shared.policy import DEFAULT_POLICY, load_policy
from shared.warehouse import tables
from shared.warehouse.columns import ColumnType, Row, Table
from tests.research.simulated import SimulatedHistory, simulated_history
from tests.unit.trainer.decided import STRICT, Past, decided, trained

DECIDED = 480
KEY = b"k" * 32


@pytest.fixture(scope="module")
def history() -> SimulatedHistory:
    return simulated_history("bnpl_history", days=110, daily=25, seed=4)


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> ModelRegistry:
    return ModelRegistry(str(tmp_path_factory.mktemp("registry") / "models"))


@pytest.fixture(scope="module", params=[b"", KEY], ids=["plain", "pseudonyms"])
def stored(
    request: pytest.FixtureRequest,
    registry: ModelRegistry,
    history: SimulatedHistory,
    tmp_path_factory: pytest.TempPathFactory,
) -> list[StoredDecision]:
    folder, key = tmp_path_factory.mktemp("policies"), request.param
    past = asyncio.run(decided(registry, trained(registry, history), history, DECIDED, folder, key))
    return read_back(past, Pseudonyms(key))


def read_back(past: Past, pseudonyms: Pseudonyms) -> list[StoredDecision]:
    """As the warehouse's client gives decisions with their purchases."""
    rows = past.rows(pseudonyms)
    purchases = {row["event_id"]: given(tables.TRANSACTIONS, row) for row in rows[tables.TRANSACTIONS]}
    found = []
    for row in rows[tables.DECISIONS]:
        decision = given(tables.DECISIONS, row)
        renamed = {
            "decided_event": decision["event_id"],
            "decided_partition": decision["kafka_partition"],
            "decided_offset": decision["kafka_offset"],
            "decided_timestamp": decision["kafka_timestamp"],
            "decided_at": decision["prediction_timestamp"],
            "decided_occurred_at": decision["occurred_at"],
            "erased": decision["customer_id"] is None,
        }
        kept = {name: decision[name] for name in ("record_json", "record_sha256")}
        found.append(stored_decision(purchases[row["event_id"]] | renamed | kept))
    return found


def given(table: Table, row: Row) -> dict[str, Any]:
    kinds = {column.name: column.type for column in table.columns}
    values: dict[str, Any] = {name: row.get(name) for name in kinds}
    for name, value in values.items():
        if kinds[name] is ColumnType.TIMESTAMP and value is not None:
            values[name] = EPOCH + timedelta(microseconds=value)
    return values


def outcomes(stored: Iterable[StoredDecision], registry: ModelRegistry) -> list[Replayed]:
    return [outcome for chunk in replay(stored, Archive(registry)) for outcome in chunk]


def test_the_past_has_every_kind_of_decision(stored: list[StoredDecision]) -> None:
    made = [msgspec.json.decode(each.record or b"") for each in stored]
    assert len(made) == DECIDED
    assert {each["degraded"] for each in made} == {
        None, "no_model", "rebuilding", "feature_set_mismatch", "model_failed"
    }  # fmt: skip
    assert {each["variant"] for each in made} == {"champion", "canary", "third"}
    assert len({each["model_version"] for each in made}) == 5
    assert len({each["policy_version"] for each in made}) == 4
    assert {each["feature_set_version"] for each in made} >= {"0-before", "1-after"}
    assert {each["channel"] for each in made} == {"stream", "rest"}
    codes = {reason["code"] for each in made for reason in each["reasons"]}
    assert codes >= {"policy_exposure_limit", "policy_amount_cap", "policy_everything", "policy_fallback_amount"}
    assert codes >= {"policy_decline_rate", "policy_approved_volume", "policy_exploration"}
    assert Counter(len(each["shadow"]) for each in made).keys() == {0, 1, 2}
    assert {(each["degraded"], len(each["shadow"])) for each in made} >= {("model_failed", 0), ("model_failed", 1)}


def test_every_decision_is_made_again_byte_for_byte(stored: list[StoredDecision], registry: ModelRegistry) -> None:
    found = outcomes(stored, registry)
    assert [told(each) for each in found if each.result != "identical"] == []
    assert [each.made for each in found] == [each.record for each in stored]
    assert [each.stored for each in found] == stored


def test_one_made_in_a_batch_is_the_same_made_again_alone(
    stored: list[StoredDecision], registry: ModelRegistry
) -> None:
    archive = Archive(registry)
    assert {each.result for one in stored for chunk in replay([one], archive) for each in chunk} == {"identical"}


Change = Callable[[dict[str, Any]], None]


def changed(stored: StoredDecision, change: Change, *, hashed: bool) -> StoredDecision:
    body = json.loads(stored.record or b"")
    change(body)
    record = msgspec.json.encode(body)
    sha256 = hashlib.sha256(record).hexdigest() if hashed else stored.record_sha256
    return replace(stored, record=record, record_sha256=sha256)


def scored(stored: list[StoredDecision]) -> StoredDecision:
    """One that a model approved, with its reasons."""
    for each in stored:
        body = json.loads(each.record or b"")
        if body["degraded"] is None and body["decision"] == "approve" and body["reasons"]:
            return each
    raise AssertionError("no purchase was approved")


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda body: body.update(decision="decline"), {"decision"}),
        (lambda body: body.update(probability_of_default=0.5), {"probability_of_default"}),
        (lambda body: body["reasons"].clear(), {"reasons"}),
        (lambda body: body.update(note="added by a later release"), {"note"}),
        (lambda body: body.update(event_id=body.pop("event_id")), {"bytes"}),
    ],
)
def test_what_the_code_of_today_makes_otherwise_is_named(
    stored: list[StoredDecision], registry: ModelRegistry, change: Change, named: set[str]
) -> None:
    (found,) = outcomes([changed(scored(stored), change, hashed=True)], registry)
    assert (found.result, set(found.differences)) == ("different", named)
    assert told(found)["exit_status"] == 1


def test_a_stored_record_that_was_changed_is_told_by_its_hash(
    stored: list[StoredDecision], registry: ModelRegistry
) -> None:
    # What was written goes into the decision as it is: the same change comes out of the replay.
    moved = changed(scored(stored), lambda body: body.update(decided_at="2027-01-01T00:00:00.000000Z"), hashed=False)
    (found,) = outcomes([moved], registry)
    assert set(found.differences) == {"record_sha256"}


def test_a_purchase_that_was_changed_shows_where_the_policy_looked_at_it(
    stored: list[StoredDecision], registry: ModelRegistry
) -> None:
    one = scored(stored)
    assert one.purchase is not None
    dear = replace(one, purchase=msgspec.structs.replace(one.purchase, amount=90_000.0))
    (found,) = outcomes([dear], registry)
    assert {"decision", "reasons", "expected_loss"} <= set(found.differences)


def test_what_is_lacking_is_said_and_costs_no_other_decision(
    stored: list[StoredDecision], registry: ModelRegistry, tmp_path: Path
) -> None:
    shutil.copytree(registry.root, tmp_path / "models")
    poorer = ModelRegistry(str(tmp_path / "models"))
    version = json.loads(scored(stored).record or b"")["model_version"]
    strict = next(name for name in (poorer.root / "policies").iterdir() if name.read_text() == STRICT)
    shutil.rmtree(poorer.root / "models" / version)
    strict.unlink()
    found = outcomes(stored, poorer)
    for each in found:
        body = json.loads(each.stored.record or b"")
        needed = {body["model_version"], body["policy_version"], *(score["model_version"] for score in body["shadow"])}
        lacking = {version, strict.stem} & needed
        assert (each.result == "not replayable") == bool(lacking)
        assert not lacking or any(name in each.hindrance for name in lacking)
    assert {each.result for each in found} == {"identical", "not replayable"}
    answer = summary(replay(stored, Archive(poorer)), lambda _: None)
    assert (answer["replayed"], answer["different"], answer["exit_status"]) == (DECIDED, 0, 3)


def test_a_policy_that_the_registry_lost_can_be_given(
    stored: list[StoredDecision], registry: ModelRegistry, tmp_path: Path
) -> None:
    shutil.copytree(registry.root / "models", tmp_path / "models" / "models")
    (tmp_path / "strict.yaml").write_text(STRICT)
    policies = [load_policy(tmp_path / "strict.yaml"), load_policy(DEFAULT_POLICY)]
    found = [
        each for chunk in replay(stored, Archive(ModelRegistry(str(tmp_path / "models")), policies)) for each in chunk
    ]
    lost = Counter(each.result for each in found)
    assert lost["identical"] > lost["not replayable"] > 0  # those of the limiter and of the emergency nobody has


def test_an_erased_decision_is_called_that(stored: list[StoredDecision], registry: ModelRegistry) -> None:
    gone = [
        replace(stored[0], record=None, erased=True, purchase=None),
        replace(stored[1], record=None),
        replace(stored[2], purchase=None),
        replace(stored[3], record=b"{}"),
    ]
    found = outcomes(gone, registry)
    assert [each.hindrance.split(":")[0] for each in found] == [
        "erased",
        "its row doesn't hold the record",
        "its purchase isn't in the warehouse",
        "this release can't read the record",
    ]


@pytest.mark.parametrize(
    ("field", "name"),
    [("policy_version", "../../policy"), ("policy_version", "/etc/passwd"), ("policy_version", ""),
     ("model_version", "../policies")],
)  # fmt: skip
def test_a_name_in_a_record_leads_to_no_file_outside_of_the_registry(
    stored: list[StoredDecision], registry: ModelRegistry, field: str, name: str
) -> None:
    forged = changed(scored(stored), lambda body: body.update({field: name}), hashed=True)
    (found,) = outcomes([forged], registry)
    assert found.hindrance.startswith(f"{name}: ")
    assert "is kept" in found.hindrance or "is no version" in found.hindrance


def test_ages_are_those_of_the_event_and_of_the_records(stored: list[StoredDecision]) -> None:
    for each in stored:
        body = json.loads(each.record or b"")
        assert each.purchase is not None
        assert each.latency_ms is not None
        assert body["occurred_at"] == each.purchase.occurred_at
        assert each.latency_ms - each.event_age_ms == pytest.approx(3, abs=2)


def test_of_many_differences_the_first_are_named_and_all_are_counted(
    stored: list[StoredDecision], registry: ModelRegistry
) -> None:
    wrong = [changed(each, lambda body: body.update(decided_at="1"), hashed=False) for each in stored[:50]]
    steps: list[str] = []
    answer = summary(replay([*wrong, *stored[50:]], Archive(registry)), steps.append)
    assert (answer["different"], answer["identical"]) == (50, DECIDED - 50)
    assert (len(answer["examples"]["different"]), len(steps)) == (20, 1)
    assert answer["exit_status"] == 1


def test_nothing_at_all_is_not_called_identical(registry: ModelRegistry) -> None:
    assert summary(replay([], Archive(registry)), lambda _: None)["exit_status"] == 3


@pytest.mark.parametrize(
    "arguments",
    [[], ["e", "--all"], ["e", "--limit", "3"], ["e", "--since", "yesterday"], ["--all", "--limit", "0"]],
)
def test_a_replay_of_nothing_in_particular_is_refused(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as refused:
        parse(["replay", *arguments])
    assert refused.value.code == 2
