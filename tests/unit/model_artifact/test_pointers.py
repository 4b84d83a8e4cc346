"""Which model is in service, and which one was before."""

from __future__ import annotations

import multiprocessing

import msgspec
import pytest

from shared.model_artifact.manifest import ArtifactRefused
from shared.model_artifact.registry import ModelRegistry, PromotionConflict
from tests.unit.model_artifact.artifacts import a_manifest, some_files, two_models


def test_promotion_moves_current_and_remembers_what_was(registry: ModelRegistry) -> None:
    first, second = two_models(registry)
    assert registry.current() is None
    registry.promote(first, "test", expected=None)
    registry.promote(second, "test", expected=first)
    assert (registry.current(), registry.previous()) == (second, first)
    assert registry.rollback("test") == first
    assert (registry.current(), registry.previous()) == (first, second)


def test_a_rollback_of_a_model_that_is_out_already_does_not_put_it_back(registry: ModelRegistry) -> None:
    first, second = two_models(registry)
    registry.promote(first, "test")
    registry.promote(second, "test")
    assert registry.rollback("the ladder", expected=second) == first
    with pytest.raises(PromotionConflict) as conflict:
        registry.rollback("a person, a moment later", expected=second)
    assert (conflict.value.expected, conflict.value.found) == (second, first)
    assert (registry.current(), registry.previous()) == (first, second)


def test_a_promotion_that_believes_in_another_current_moves_nothing(registry: ModelRegistry) -> None:
    first, second = two_models(registry)
    registry.promote(first, "test")
    with pytest.raises(PromotionConflict) as conflict:
        registry.promote(second, "late", expected=None)
    assert (conflict.value.expected, conflict.value.found) == (None, first)
    assert (registry.current(), registry.previous()) == (first, None)


def _cut_off_at(pointer: str, patch: pytest.MonkeyPatch) -> None:
    write = ModelRegistry._write_pointer

    def cut_off(self: ModelRegistry, name: str, content: msgspec.Struct) -> None:
        if name == pointer:
            raise OSError("no space left on device")
        write(self, name, content)

    patch.setattr(ModelRegistry, "_write_pointer", cut_off)


def test_a_promotion_that_is_cut_off_between_its_pointers_keeps_the_way_back(
    registry: ModelRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    (first, second), third = two_models(registry), registry.register(a_manifest(), some_files(b"third"))
    registry.promote(first, "test")
    registry.promote(second, "test")
    for _ in range(2):
        with monkeypatch.context() as patch, pytest.raises(OSError, match="no space"):
            _cut_off_at("current", patch)
            registry.promote(third, "test")
        assert (registry.current(), registry.previous()) == (second, first)
    registry.promote(third, "test")
    assert registry.rollback("test") == second
    assert (registry.current(), registry.previous()) == (second, third)


def test_what_is_withdrawn_by_a_promotion_is_marked_as_by_a_rollback(registry: ModelRegistry) -> None:
    first, second = two_models(registry)
    for version in (first, second):
        registry.promote(version, "test")
    registry.promote(first, "the ladder", withdrawing=True)
    before = registry.pointer("previous")
    assert before is not None
    assert (before.version, before.withdrawn) == (second, True)
    assert registry.rollback("a person") == second, "one may return to it all the same"
    registry.promote(first, "a person")
    before = registry.pointer("previous")
    assert before is not None
    assert (before.version, before.withdrawn) == (second, False)


def test_a_withdrawal_that_is_cut_off_between_its_pointers_keeps_the_way_back(
    registry: ModelRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = two_models(registry)
    for version in (first, second):
        registry.promote(version, "test")
    with monkeypatch.context() as patch, pytest.raises(OSError, match="no space"):
        _cut_off_at("current", patch)
        registry.promote(first, "the ladder", withdrawing=True)
    assert (registry.current(), registry.previous()) == (second, first)
    registry.promote(first, "the ladder", withdrawing=True)
    assert (registry.current(), registry.previous()) == (first, second)


def test_a_rollback_that_is_cut_off_between_its_pointers_leads_no_further_back(
    registry: ModelRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    (first, second), third = two_models(registry), registry.register(a_manifest(), some_files(b"third"))
    for version in (first, second, third):
        registry.promote(version, "test")
    with monkeypatch.context() as patch, pytest.raises(OSError, match="no space"):
        _cut_off_at("previous", patch)
        registry.rollback("test")
    assert (registry.current(), registry.previous()) == (second, second)
    with pytest.raises(ArtifactRefused, match="no previous"):
        registry.rollback("test")


def test_a_current_that_cannot_be_read_leaves_the_one_before(registry: ModelRegistry) -> None:
    (first, second), third = two_models(registry), registry.register(a_manifest(), some_files(b"third"))
    for version in (first, second, third):
        registry.promote(version, "test")
    (registry.root / "current").write_bytes(b"{")
    assert registry.previous() == second


def test_a_previous_that_cannot_be_read_keeps_nobody_from_a_promotion(registry: ModelRegistry) -> None:
    first, second = two_models(registry)
    registry.promote(first, "test")
    (registry.root / "previous").write_bytes(b"{")
    registry.promote(second, "test")
    assert registry.previous() == first


def test_promoting_the_current_model_again_keeps_the_way_back(registry: ModelRegistry) -> None:
    first, second = two_models(registry)
    registry.promote(first, "test")
    registry.promote(second, "test")
    registry.promote(second, "test")
    assert registry.previous() == first


def test_a_damaged_model_can_be_neither_promoted_nor_returned_to(registry: ModelRegistry) -> None:
    first, second = two_models(registry)
    registry.promote(first, "test")
    registry.promote(second, "test")
    (registry.root / "models" / first / "model.onnx").write_bytes(b"else")
    with pytest.raises(ArtifactRefused):
        registry.rollback("test")
    with pytest.raises(ArtifactRefused):
        registry.promote(first, "test")
    assert registry.current() == second


def test_there_is_no_way_back_from_the_first_model(registry: ModelRegistry) -> None:
    first, _ = two_models(registry)
    registry.promote(first, "test")
    with pytest.raises(ArtifactRefused):
        registry.rollback("test")
    assert registry.current() == first


@pytest.mark.parametrize("content", [b"", b'{"version":', b'{"version":"../x","promoted_at":"","by":""}'])
def test_a_half_written_pointer_is_refused_rather_than_read_as_no_model(
    registry: ModelRegistry, content: bytes
) -> None:
    registry.root.mkdir(parents=True)
    (registry.root / "current").write_bytes(content)
    with pytest.raises(ArtifactRefused):
        registry.current()


def _promote_from(root: str, version: str, expected: str) -> bool:
    try:
        ModelRegistry(root).promote(version, "racer", expected=expected)
    except PromotionConflict:
        return False
    return True


def test_of_many_promotions_from_one_belief_one_wins(registry: ModelRegistry) -> None:
    base = registry.register(a_manifest(), some_files())
    registry.promote(base, "test")
    rivals = [registry.register(a_manifest(), some_files(f"rival {i}".encode())) for i in range(4)]
    # Not forked: other tests of this process may have left threads, and a lock that one of them holds.
    with multiprocessing.get_context("spawn").Pool(4) as pool:
        won = pool.starmap(_promote_from, [(str(registry.root), rival, base) for rival in rivals])
    assert won.count(True) == 1
    assert registry.current() == rivals[won.index(True)]
    assert registry.previous() == base
