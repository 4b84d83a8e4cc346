from __future__ import annotations

from collections.abc import AsyncIterator
from typing import NoReturn

import httpx
import pytest
from prometheus_client import REGISTRY

from services.scorer.library import ModelLibrary
from services.scorer.models import Models
from services.scorer.reload import ModelReloader
from services.scorer.slot import ModelSlot
from shared.contracts.identity import epoch_micros
from shared.experiments import Arm, Experiment, Trials
from shared.model_artifact.files import ModelFiles
from shared.model_artifact.manifest import ArtifactFault, ArtifactRefused
from shared.model_artifact.registry import ModelRegistry, Pointer
from tests.unit.scorer.parts import NAMES, NOW, register
from tests.unit.scorer.rest import Asked, assert_problem, client_of

URL = "/v1/models"


@pytest.fixture
async def client(registry: ModelRegistry, slot: ModelSlot) -> AsyncIterator[httpx.AsyncClient]:
    reloader = ModelReloader(registry, slot, interval_s=3600.0)
    models = Models(registry, ModelLibrary(registry, slot), reloader)
    async with client_of(Asked(), models=models) as found:
        yield found


async def promoted_in_turn(client: httpx.AsyncClient, registry: ModelRegistry) -> tuple[str, str]:
    first, second = register(registry), register(registry, intercept=-3.0)
    for version in (first, second):
        await client.post(f"{URL}/{version}/promote")
    return first, second


async def test_a_promoted_model_is_in_service_when_the_answer_comes(
    client: httpx.AsyncClient, registry: ModelRegistry, slot: ModelSlot
) -> None:
    first, second = register(registry), register(registry, intercept=-3.0)
    for version, before in ((first, None), (second, first)):
        answer = await client.post(f"{URL}/{version}/promote")
        assert answer.status_code == 200
        assert slot.current is not None
        assert slot.current.version == version == answer.json()["current"]["version"]
        assert (answer.json()["previous"] or {}).get("version") == before
        assert answer.json()["current"]["by"] == "local"


async def test_the_model_that_decides_tells_when_it_was_trained_and_the_one_before_no_longer(
    client: httpx.AsyncClient, registry: ModelRegistry
) -> None:
    first, second = await promoted_in_turn(client, registry)
    told = {version: REGISTRY.get_sample_value("flit_model_trained_timestamp_seconds", {"version": version})
            for version in (first, second)}  # fmt: skip
    assert told == {first: None, second: epoch_micros(NOW) / 1e6}


async def test_a_switch_stands_where_it_can_not_be_read_back(
    client: httpx.AsyncClient, registry: ModelRegistry, slot: ModelSlot, monkeypatch: pytest.MonkeyPatch
) -> None:
    version, read = register(registry), registry.pointer

    def pointer(name: str) -> Pointer | None:
        if name == "previous" and slot.current is not None:  # the switch is done
            raise OSError("away")
        return read(name)

    monkeypatch.setattr(registry, "pointer", pointer)
    answer = await client.post(f"{URL}/{version}/promote")
    assert_problem(answer, 409, "not-followed")
    assert slot.current is not None and slot.current.version == version


async def test_a_rollback_puts_the_one_before_back(
    client: httpx.AsyncClient, registry: ModelRegistry, slot: ModelSlot
) -> None:
    first, _ = await promoted_in_turn(client, registry)
    answer = await client.post(f"{URL}/rollback")
    assert answer.json()["current"]["version"] == first
    assert slot.current is not None
    assert slot.current.version == first


async def test_a_rollback_that_is_asked_for_twice_goes_back_once(
    client: httpx.AsyncClient, registry: ModelRegistry
) -> None:
    first, second = await promoted_in_turn(client, registry)
    named = {"If-Match": f'"{second}"'}
    assert (await client.post(f"{URL}/rollback", headers=named)).status_code == 200
    answer = await client.post(f"{URL}/rollback", headers=named)
    assert assert_problem(answer, 409, "switched")["expected"] == first
    assert registry.current() == first


async def test_what_this_process_can_not_run_is_nothing_to_go_back_to(
    client: httpx.AsyncClient, registry: ModelRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = register(registry), register(registry, intercept=-3.0)
    for version in (first, second):
        registry.promote(version, "somebody")  # and not by this process, which has never loaded the first

    def refused(_: ModelFiles) -> NoReturn:
        raise ArtifactRefused(ArtifactFault.INCOMPATIBLE, "a feature that this release doesn't make")

    monkeypatch.setattr("services.scorer.library.OnnxModel", refused)
    assert_problem(await client.post(f"{URL}/rollback"), 409, "model-refused")
    assert registry.current() == second


async def test_a_switch_that_this_process_did_not_follow_is_no_success(
    client: httpx.AsyncClient, registry: ModelRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, second = await promoted_in_turn(client, registry)

    def refused(_: ModelFiles) -> NoReturn:
        raise ArtifactRefused(ArtifactFault.GOLDEN, "other answers than registered")

    monkeypatch.setattr("services.scorer.reload.OnnxModel", refused)
    answer = await client.post(f"{URL}/rollback")
    assert "retry-after" not in answer.headers, "asked for again, it would put back what was to go"
    problem = assert_problem(answer, 409, "not-followed")
    assert f"decides with {second} still" in problem["detail"]


async def test_there_is_nothing_to_roll_back_to_at_first(client: httpx.AsyncClient, registry: ModelRegistry) -> None:
    await client.post(f"{URL}/{register(registry)}/promote")
    assert_problem(await client.post(f"{URL}/rollback"), 404, "not-found")


async def test_a_switch_that_expects_another_model_moves_nothing(
    client: httpx.AsyncClient, registry: ModelRegistry
) -> None:
    first, second = register(registry), register(registry, intercept=-3.0)
    await client.post(f"{URL}/{first}/promote")
    answer = await client.post(f"{URL}/{second}/promote", headers={"If-Match": '"0123456789abcdef"'})
    assert assert_problem(answer, 409, "switched")["expected"] == first
    assert registry.current() == first
    assert (await client.post(f"{URL}/{second}/promote", headers={"If-Match": f'"{first}"'})).status_code == 200


async def test_a_model_that_answers_otherwise_than_registered_is_not_put_in_service(
    client: httpx.AsyncClient, registry: ModelRegistry
) -> None:
    good, bad = register(registry), register(registry, golden_raw=0.9)
    await client.post(f"{URL}/{good}/promote")
    assert_problem(await client.post(f"{URL}/{bad}/promote"), 409, "model-refused")
    assert registry.current() == good


async def test_a_tampered_model_is_not_put_in_service(client: httpx.AsyncClient, registry: ModelRegistry) -> None:
    version = register(registry)
    path = registry.root / "models" / version / "model.onnx"
    path.write_bytes(path.read_bytes() + b"x")
    assert_problem(await client.post(f"{URL}/{version}/promote"), 409, "model-refused")


@pytest.mark.parametrize(("version", "status", "reason"), [("0" * 16, 404, "not-found"), ("latest", 422, "shape")])
async def test_what_is_not_registered_can_not_be_promoted(
    client: httpx.AsyncClient, version: str, status: int, reason: str
) -> None:
    assert_problem(await client.post(f"{URL}/{version}/promote"), status, reason)


async def test_the_list_tells_what_each_model_is_and_which_has_a_part(
    client: httpx.AsyncClient, registry: ModelRegistry
) -> None:
    assert (await client.get(URL)).json() == {
        "current": None, "previous": None, "registered": 0, "models": [],
        "trials": {"shadow": [], "experiment": None, "candidacy": None, "successor": None},
    }  # fmt: skip
    first, second = register(registry), register(registry, intercept=-3.0)
    await client.post(f"{URL}/{first}/promote")
    experiment = Experiment("canary", "salt", [Arm("new", 0.1, second)], NOW, "anna")
    registry.change_trials(lambda _: Trials(shadow=[second], experiment=experiment))
    told = (await client.get(URL)).json()
    assert told["current"]["version"] == first
    assert told["trials"]["shadow"] == [second]
    assert told["trials"]["experiment"]["arms"] == [{"name": "new", "share": 0.1, "model_version": second}]
    described = {model["version"]: model for model in told["models"]}
    assert described.keys() == {first, second}
    assert described[first]["family"] == "logistic"
    assert described[first]["features"] == len(NAMES)
    assert described[first]["signed"] is False


async def test_a_damaged_model_is_listed_as_such(client: httpx.AsyncClient, registry: ModelRegistry) -> None:
    version = register(registry)
    (registry.root / "models" / version / "manifest.json").write_text("{")
    (described,) = (await client.get(URL)).json()["models"]
    assert (described["version"], described["refused"]) == (version, "syntax")


async def test_a_registry_that_can_not_be_written_says_so(
    client: httpx.AsyncClient, registry: ModelRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    version = register(registry)

    def read_only(*_: object, **__: object) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(registry, "promote", read_only)
    assert_problem(await client.post(f"{URL}/{version}/promote"), 503, "registry-unavailable")
