from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from services.scorer.decider import Decider
from services.scorer.metrics import POLICY_INFO
from services.scorer.policies import PolicyReloader, PolicySlot
from services.scorer.slot import ModelSlot
from shared.model_artifact.registry import ModelRegistry
from shared.policy import DEFAULT_POLICY, Policy, load_policy
from tests.unit.scorer.parts import a_vector

TEXT = DEFAULT_POLICY.read_text()
STRICT = TEXT.replace("everything: decide", "everything: decline")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "policy.yaml"
    path.write_text(TEXT)
    return path


@pytest.fixture
def slot(path: Path) -> PolicySlot:
    return PolicySlot(load_policy(path))


@pytest.fixture
def reloader(path: Path, slot: PolicySlot, registry: ModelRegistry) -> PolicyReloader:
    return PolicyReloader(path, slot, registry, interval_s=0.001)


def kept(registry: ModelRegistry) -> dict[str, str]:
    return {file.stem: file.read_text() for file in (registry.root / "policies").iterdir()}


def test_a_changed_file_is_taken_over_and_both_policies_are_kept(
    path: Path, slot: PolicySlot, reloader: PolicyReloader, registry: ModelRegistry
) -> None:
    first = slot.current.name
    assert not reloader.look()
    path.write_text(STRICT)
    with capture_logs() as lines:
        assert reloader.look()
        assert not reloader.look()
    assert slot.current.everything == "decline"
    assert kept(registry) == {first: TEXT, slot.current.name: STRICT}
    assert lines == [{"event": "policy_in_service", "policy": slot.current.name, "before": first, "log_level": "info"}]
    served = [sample.labels["policy"] for metric in POLICY_INFO.collect() for sample in metric.samples]
    assert served == [slot.current.name]


def test_the_next_decision_is_made_by_the_policy_of_then(
    path: Path, slot: PolicySlot, reloader: PolicyReloader
) -> None:
    decider = Decider(ModelSlot(), slot)
    before, *_ = decider.decide([a_vector()], "stream")
    path.write_text(STRICT)
    reloader.look()
    after, *_ = decider.decide([a_vector()], "stream")
    assert (before.decision.value, after.decision.value) == ("approve", "decline")
    assert (before.policy_version, after.policy_version) == (load_policy().name, slot.current.name)


@pytest.mark.parametrize("text", ["", "version: [", TEXT.replace("amount_usd > 1000", "amount_usd >"), None])
def test_a_file_that_is_not_sound_changes_nothing_and_one_line_says_so(
    path: Path, slot: PolicySlot, reloader: PolicyReloader, text: str | None
) -> None:
    good = slot.current
    reloader.look()
    if text is None:
        path.unlink()
    else:
        path.write_text(text)
    with capture_logs() as lines:
        for _ in range(3):
            assert not reloader.look()
    assert slot.current is good
    assert [line["event"] for line in lines] == ["policy_refused"]
    path.write_text(STRICT)
    assert reloader.look()


def test_another_comment_is_not_another_policy(path: Path, slot: PolicySlot, reloader: PolicyReloader) -> None:
    path.write_text(TEXT + "\n# Nothing else.\n")
    assert not reloader.look()


def test_a_registry_that_cannot_be_written_holds_up_no_policy(path: Path, slot: PolicySlot, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    reloader = PolicyReloader(path, slot, ModelRegistry(str(tmp_path / "file" / "models")), interval_s=1)
    path.write_text(STRICT)
    with capture_logs() as lines:
        assert reloader.look()
    assert [line["event"] for line in lines] == ["policy_in_service", "policy_not_kept"]


def test_a_policy_that_could_not_be_kept_is_kept_later_though_another_has_followed(
    path: Path, reloader: PolicyReloader, registry: ModelRegistry
) -> None:
    in_the_way = registry.root / "policies"
    registry.root.mkdir(parents=True, exist_ok=True)
    in_the_way.write_text("a file where the folder belongs")
    reloader.look()
    path.write_text(STRICT)
    with capture_logs() as lines:
        assert reloader.look()
        assert not reloader.look()
    assert [line["event"] for line in lines] == ["policy_in_service", "policy_not_kept"], "each is told once"
    in_the_way.unlink()
    assert not reloader.look()
    assert set(kept(registry).values()) == {TEXT, STRICT}


def test_a_file_that_is_being_written_is_read_at_the_next_look(
    path: Path, slot: PolicySlot, reloader: PolicyReloader, registry: ModelRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    def and_meanwhile(_: Path, **__: bool) -> Policy:
        policy = load_policy(path)
        path.write_text(STRICT)
        return policy

    monkeypatch.setattr("services.scorer.policies.load_policy", and_meanwhile)
    assert not reloader.look()
    monkeypatch.setattr("services.scorer.policies.load_policy", load_policy)
    assert reloader.look()
    assert kept(registry) == {slot.current.name: STRICT}


async def test_the_watch_ends_when_told_to(reloader: PolicyReloader) -> None:
    stop = asyncio.Event()
    watching = asyncio.create_task(reloader.run(stop))
    await asyncio.sleep(0)
    stop.set()
    async with asyncio.timeout(10):
        await watching
