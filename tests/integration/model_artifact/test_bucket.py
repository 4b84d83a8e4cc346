"""A registry in a bucket keeps what one in a folder promises: the same tests for both, by Google's own client.

The bucket is a server of the tests' own, or a real one: `FLIT_TEST_GCS_BUCKET` names a bucket that may be written to.
"""

from __future__ import annotations

import os
import socket
import threading
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from google.api_core.exceptions import GoogleAPIError, ServiceUnavailable

from services.trainer.lifecycle.triggers import State
from services.trainer.promotion.ladder import CandidacyMoved, Ladder, LadderRefused
from shared.experiments import Stage, Trials
from shared.model_artifact import bucket as bucket_module
from shared.model_artifact.alone import Busy
from shared.model_artifact.bucket import BucketRegistry, upload
from shared.model_artifact.conditional import write_where
from shared.model_artifact.manifest import ArtifactRefused
from shared.model_artifact.opening import open_registry
from shared.model_artifact.registry import ModelRegistry, PromotionConflict, RegistryAway
from shared.settings import ModelRegistrySettings
from tests.gcs_server import Buckets
from tests.unit.model_artifact.artifacts import a_manifest, some_files

pytestmark = pytest.mark.integration

REAL = os.environ.get("FLIT_TEST_GCS_BUCKET")
Machine = Callable[[], ModelRegistry]
"""Makes the registry as another machine sees it."""


@pytest.fixture(params=["folder", "bucket", "real bucket"])
def machine(request: pytest.FixtureRequest, tmp_path: Path) -> Machine:
    if request.param == "folder":
        return lambda: ModelRegistry(str(tmp_path / "models"))
    if request.param == "bucket":
        request.getfixturevalue("server")
        uri = "gs://flit-models/team"
    else:
        if REAL is None:
            pytest.skip("FLIT_TEST_GCS_BUCKET names no bucket of Google's")
        uri = f"gs://{REAL}/test-{uuid.uuid4().hex[:8]}"

    def make() -> ModelRegistry:
        settings = ModelRegistrySettings(uri=uri, mirror=tmp_path / f"mirror-{uuid.uuid4().hex[:8]}")
        return open_registry(settings)

    return make


def test_a_model_is_read_elsewhere_as_it_was_registered(machine: Machine) -> None:
    here, there = machine(), machine()
    version = here.register(a_manifest(), some_files(b"a graph"))
    assert there.versions() == [version]
    assert there.load(version).onnx == b"a graph"
    assert here.register(a_manifest(), some_files(b"a graph")) == version
    with pytest.raises(ArtifactRefused):
        there.load("0" * 16)


def test_versions_come_in_the_order_of_their_registration(machine: Machine) -> None:
    here = machine()
    made = [here.register(a_manifest(), some_files(f"graph {number}".encode())) for number in range(3)]
    assert machine().versions() == made


def test_a_promotion_and_the_way_back_are_seen_everywhere(machine: Machine) -> None:
    here, there = machine(), machine()
    first, second = (here.register(a_manifest(), some_files(graph)) for graph in (b"one", b"two"))
    assert (there.current(), there.previous()) == (None, None)
    here.promote(first, "test")
    assert there.current() == first
    there.promote(second, "test", expected=first)
    assert (here.current(), here.previous()) == (second, first)
    assert here.rollback("test") == first
    assert (there.current(), there.previous()) == (first, second)


def test_what_the_ladder_took_out_of_service_is_withdrawn_everywhere(machine: Machine) -> None:
    here, there = machine(), machine()
    first, second = (here.register(a_manifest(), some_files(graph)) for graph in (b"one", b"two"))
    for version in (first, second):
        here.promote(version, "test")
    here.promote(first, "the ladder", withdrawing=True)
    before = there.pointer("previous")
    assert before is not None
    assert (there.current(), before.version, before.withdrawn) == (first, second, True)


def test_who_believes_something_else_moves_nothing(machine: Machine) -> None:
    here, there = machine(), machine()
    first, second = (here.register(a_manifest(), some_files(graph)) for graph in (b"one", b"two"))
    here.promote(first, "test")
    with pytest.raises(PromotionConflict):
        there.promote(second, "test", expected=None)
    assert here.current() == first


def test_of_many_promotions_from_one_belief_one_wins(machine: Machine) -> None:
    here = machine()
    base = here.register(a_manifest(), some_files())
    here.promote(base, "test")
    rivals = [here.register(a_manifest(), some_files(f"rival {number}".encode())) for number in range(3)]
    won: list[str] = []

    def race(registry: ModelRegistry, rival: str) -> None:
        try:
            registry.promote(rival, "racer", expected=base)
        except PromotionConflict:
            return
        won.append(rival)

    racers = [threading.Thread(target=race, args=(machine(), rival)) for rival in rivals]
    for racer in racers:
        racer.start()
    for racer in racers:
        racer.join()
    assert len(won) == 1
    assert (machine().current(), machine().previous()) == (won[0], base)


def test_trials_and_policies_are_seen_everywhere(machine: Machine) -> None:
    here, there = machine(), machine()
    version = here.register(a_manifest(), some_files())
    here.change_trials(lambda trials: Trials(shadow=[version]))
    assert there.trials().shadow == [version]
    there.change_trials(lambda trials: Trials())
    assert here.trials().shadow == []
    here.keep_policy("cautious-1a2b", b"version: 1\n")
    assert there.kept_policy("cautious-1a2b").read_bytes() == b"version: 1\n"
    with pytest.raises(ArtifactRefused):
        there.kept_policy("../secret")


def bucketed(server: Buckets, mirror: Path) -> BucketRegistry:
    return BucketRegistry("gs://flit-models/team", mirror)


def test_a_copy_that_was_damaged_here_is_fetched_again(server: Buckets, tmp_path: Path) -> None:
    here = bucketed(server, tmp_path / "mirror")
    version = here.register(a_manifest(), some_files(b"a graph"))
    (here.root / "models" / version / "model.onnx").write_bytes(b"another")
    assert here.load(version).onnx == b"a graph"


def test_a_model_that_was_damaged_in_the_bucket_is_refused(server: Buckets, tmp_path: Path) -> None:
    version = bucketed(server, tmp_path / "here").register(a_manifest(), some_files(b"a graph"))
    server.objects["flit-models", f"team/models/{version}/model.onnx"].data = b"another"
    with pytest.raises(ArtifactRefused):
        bucketed(server, tmp_path / "there").load(version)


def test_a_model_without_its_manifest_is_none(server: Buckets, tmp_path: Path) -> None:
    version = bucketed(server, tmp_path / "here").register(a_manifest(), some_files())
    del server.objects["flit-models", f"team/models/{version}/manifest.json"]
    there = bucketed(server, tmp_path / "there")
    assert there.versions() == []
    with pytest.raises(ArtifactRefused):
        there.load(version)


def test_a_writer_who_lost_its_lock_cannot_undo_what_came_since(
    server: Buckets, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, there = bucketed(server, tmp_path / "here"), bucketed(server, tmp_path / "there")
    first, second = (here.register(a_manifest(), some_files(graph)) for graph in (b"one", b"two"))
    here.promote(first, "test")
    write = BucketRegistry._write_pointer

    def held_up(self: BucketRegistry, name: str, pointer: object) -> None:
        monkeypatch.setattr(BucketRegistry, "_write_pointer", write)
        del server.objects["flit-models", "team/.lock"]  # its lease has ended
        there.promote(second, "test")
        write(self, name, pointer)  # type: ignore[arg-type]

    monkeypatch.setattr(BucketRegistry, "_write_pointer", held_up)
    third = here.register(a_manifest(), some_files(b"three"))
    with pytest.raises(PromotionConflict):
        here.promote(third, "test")
    assert bucketed(server, tmp_path / "elsewhere").current() == second


def test_the_lock_of_one_who_died_is_taken_after_its_lease(
    server: Buckets, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bucket_module, "LEASE_S", 0.3)
    died, here = bucketed(server, tmp_path / "died"), bucketed(server, tmp_path / "here")
    version = here.register(a_manifest(), some_files())
    died._lock()
    here.promote(version, "test")
    assert here.current() == version


def test_a_bucket_that_refuses_is_away(server: Buckets, tmp_path: Path) -> None:
    here = bucketed(server, tmp_path / "mirror")
    server.refuse = 403
    with pytest.raises(RegistryAway):
        here.current()


@pytest.mark.timeout(90)  # by Google's own patience it would be six minutes
def test_a_bucket_that_nobody_reaches_is_away_before_a_start_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A scorer looks three times before it serves, and is taken for dead after two minutes."""
    with socket.create_server(("127.0.0.1", 0)) as held_free:
        port = held_free.getsockname()[1]
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", f"http://127.0.0.1:{port}")
    here = bucketed(Buckets(), tmp_path / "mirror")
    for look in (here.current, here.previous, here.trials):
        with pytest.raises(RegistryAway):
            look()


@pytest.mark.timeout(45)  # a lock that isn't known as one's own is waited for a minute
@pytest.mark.parametrize("lost", [".lock", "previous", "current"])
def test_a_write_whose_answer_is_lost_is_no_conflict(server: Buckets, tmp_path: Path, lost: str) -> None:
    here = bucketed(server, tmp_path / "mirror")
    first, second = (here.register(a_manifest(), some_files(graph)) for graph in (b"one", b"two"))
    here.promote(first, "test")
    server.lose = {f"team/{lost}"}
    here.promote(second, "test", expected=first)
    assert not server.lose
    elsewhere = bucketed(server, tmp_path / "elsewhere")
    assert (elsewhere.current(), elsewhere.previous()) == (second, first)
    here.rollback("test", expected=second)
    assert elsewhere.current() == first


@pytest.mark.parametrize("machines", [1, 2])
def test_a_promotion_that_is_cut_off_between_its_pointers_keeps_the_way_back(
    server: Buckets, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, machines: int
) -> None:
    here, there = (bucketed(server, tmp_path / f"mirror-{number % machines}") for number in range(2))
    first, second, third = (here.register(a_manifest(), some_files(graph)) for graph in (b"one", b"two", b"three"))
    here.promote(first, "test")
    here.promote(second, "test")
    with monkeypatch.context() as patch:
        patch.setattr(bucket_module, "write_where", _cut_off_at("current"))
        with pytest.raises(RegistryAway):
            here.promote(third, "test")
    assert (there.current(), there.previous()) == (second, first)
    with monkeypatch.context() as patch:  # and once more
        patch.setattr(bucket_module, "write_where", _cut_off_at("current"))
        with pytest.raises(RegistryAway):
            there.promote(third, "test")
    assert there.rollback("test") == first
    assert (here.current(), here.previous()) == (first, second)


def _cut_off_at(name: str) -> Callable[..., int]:
    def write(blob: Callable[[], Any], *arguments: Any) -> int:
        if blob().name.endswith(f"/{name}"):
            raise ServiceUnavailable("cut off")
        return write_where(blob, *arguments)

    return write


def test_who_looks_meanwhile_does_not_let_a_writer_undo_what_came_since(server: Buckets, tmp_path: Path) -> None:
    """A scorer looks at its pointers each second, beside the switch that somebody asked it for."""
    here, there = bucketed(server, tmp_path / "here"), bucketed(server, tmp_path / "there")
    first, second, third, fourth = (here.register(a_manifest(), some_files(f"{n}".encode())) for n in range(4))
    here.promote(first, "test")
    here.promote(second, "test")

    def held_up(_: Trials) -> bool:
        del server.objects["flit-models", "team/.lock"]  # its lease has ended
        there.promote(fourth, "test")
        looking = threading.Thread(target=lambda: (here.current(), here.previous()))
        looking.start()
        looking.join()
        assert (here.current(), here.previous()) == (fourth, second)
        return True

    with pytest.raises(PromotionConflict):
        here.promote(third, "test", expected=second, given=held_up)
    elsewhere = bucketed(server, tmp_path / "elsewhere")
    assert (elsewhere.current(), elsewhere.previous()) == (fourth, second)


def test_a_note_is_kept_unless_somebody_else_kept_another_meanwhile(server: Buckets, tmp_path: Path) -> None:
    here, there = bucketed(server, tmp_path / "here"), bucketed(server, tmp_path / "there")
    here.keep_note("lifecycle", State())
    there.keep_note("lifecycle", State())
    assert here.note("lifecycle", State) == State()


def test_a_file_is_exported(server: Buckets, tmp_path: Path) -> None:
    path = tmp_path / "examples.parquet"
    path.write_bytes(b"rows")
    upload("gs://flit-exports/daily/examples.parquet", path)
    assert server.objects["flit-exports", "daily/examples.parquet"].data == b"rows"


def test_a_candidacy_and_its_end_are_seen_everywhere(machine: Machine) -> None:
    here, there = machine(), machine()
    champion, candidate = (here.register(a_manifest(), some_files(graph)) for graph in (b"one", b"two"))
    here.promote(champion, "test")
    entered = Ladder(here).enter(candidate, champion, ["all gates passed"], "ladder")
    assert there.trials().candidacy == entered
    on_probation = Ladder(there).to_promotion(Ladder(there).to_canary(entered, 0.1, []), ["earned"])
    assert (here.current(), here.trials().candidacy) == (candidate, on_probation)
    Ladder(here).to_rollback(on_probation, ["it harms"])
    assert (there.current(), there.previous()) == (champion, candidate)
    other = here.register(a_manifest(), some_files(b"three"))
    Ladder(here).enter(other, champion, [], "ladder")
    [ended] = there.ended_candidacies(candidate)
    assert ended.stage is Stage.ROLLED_BACK
    with pytest.raises(LadderRefused, match="it harms"):
        Ladder(there).enter(candidate, champion, [], "ladder")


def test_of_a_step_and_a_person_who_withdraws_one_wins(machine: Machine) -> None:
    here, there = machine(), machine()
    champion, candidate = (here.register(a_manifest(), some_files(graph)) for graph in (b"one", b"two"))
    here.promote(champion, "test")
    judged = Ladder(here).enter(candidate, champion, [], "ladder")
    Ladder(there).withdraw(["by hand"], "operator")
    with pytest.raises(CandidacyMoved):
        Ladder(here).to_canary(judged, 0.1, [])
    assert (machine().trials().shadow, machine().trials().experiment) == ([], None)


def test_a_promotion_finds_its_condition_and_its_pointer_as_they_were_or_moves_nothing(machine: Machine) -> None:
    here, there = machine(), machine()
    first, second = (here.register(a_manifest(), some_files(graph)) for graph in (b"one", b"two"))
    here.promote(first, "test")
    believed = here.pointer("current")
    with pytest.raises(PromotionConflict):
        here.promote(second, "test", expected=believed, given=lambda trials: trials.shadow == [second])
    there.promote(second, "test")
    there.rollback("test")
    with pytest.raises(PromotionConflict):
        here.promote(second, "test", expected=believed)
    assert machine().current() == first


def test_who_has_never_seen_a_model_can_try_it_and_return_to_it(machine: Machine) -> None:
    """It is fetched while the writers' lock is held."""
    here = machine()
    first, second = (here.register(a_manifest(), some_files(graph)) for graph in (b"one", b"two"))
    here.promote(first, "test")
    here.promote(second, "test")
    assert machine().change_trials(lambda _: Trials(shadow=[first])).shadow == [first]
    assert machine().rollback("test") == first


def test_what_is_noted_is_read_elsewhere_and_replaced_whole(machine: Machine) -> None:
    here, there = machine(), machine()
    assert there.note("lifecycle", State) is None
    for in_vain in (1, 2):
        here.keep_note("lifecycle", State(in_vain=in_vain))
        assert there.note("lifecycle", State) == State(in_vain=in_vain)


def test_one_training_at_a_time(machine: Machine) -> None:
    with machine().alone("training"):
        with pytest.raises(Busy, match="another training is under way"), machine().alone("training"):
            pass
        with machine().alone("something else"):
            pass
    with machine().alone("training"):
        pass


def test_an_error_of_the_work_is_not_taken_for_one_of_the_registry(machine: Machine) -> None:
    with pytest.raises(GoogleAPIError, match="the warehouse's"), machine().alone("training"):
        raise GoogleAPIError("the warehouse's")
    with machine().alone("training"):
        pass
