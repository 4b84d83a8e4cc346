"""Models that must not come into service, and a registry that fails its writer: the last good one stays."""

from __future__ import annotations

import asyncio
import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable

import httpx

from shared.model_artifact.manifest import MODEL_FILE, ArtifactFault
from shared.model_artifact.registry import ModelRegistry, Pointer
from tests.chaos.controls.fault_points import PLACES, Order, give
from tests.chaos.faults.fault import Fault, Inject
from tests.chaos.signing import PRIVATE_KEY
from tests.chaos.world import World
from tests.unit.scorer.parts import COEFFICIENTS, NOW, graph, register

Make = Callable[[World], str]
"""Puts a model that can't be trusted into the registry; its version."""

REGISTERING_S = 60.0


def refused(make: Make, reason: ArtifactFault) -> Inject:
    async def inject(world: World) -> None:
        good = world.model
        count = _refusals(world, reason)
        spoilt = await asyncio.to_thread(make, world)
        _point(world, "previous", good)
        _point(world, "current", spoilt)
        await world.until(lambda: _refusals(world, reason) > count, f"a refusal for {reason}")
        await _in_service(world, good)
        await world.killed("scorer")  # who has no model in memory falls back to the one before
        await _in_service(world, good)
        _point(world, "current", good)
        await _promoted(world)
        await asyncio.to_thread(shutil.rmtree, world.registry.root / "models" / spoilt)

    return inject


def bit_flipped(world: World) -> str:
    version = _next(world)
    path = world.registry.root / "models" / version / MODEL_FILE
    content = bytearray(path.read_bytes())
    content[world.dice.randrange(len(content))] ^= 1 << world.dice.randrange(8)
    path.write_bytes(content)
    return version


def half_written(world: World) -> str:
    version = _next(world)
    path = world.registry.root / "models" / version / MODEL_FILE
    content = path.read_bytes()
    path.write_bytes(content[: world.dice.randrange(len(content))])
    return version


def without_manifest(world: World) -> str:
    version = _next(world)
    (world.registry.root / "models" / version / "manifest.json").unlink()
    return version


def wrong_inputs(world: World) -> str:
    """Signed and whole, and its graph wants one feature fewer than its manifest names."""
    intercept = _an_intercept(world)
    return register(world.registry, intercept=intercept, model=graph(COEFFICIENTS[:-1], intercept))


def unsigned(world: World) -> str:
    return register(ModelRegistry(str(world.registry.root)), intercept=_an_intercept(world))


async def half_a_pointer(world: World) -> None:
    good, count = world.model, _refusals(world, ArtifactFault.SYNTAX)
    current = world.registry.root / "current"
    whole = current.read_bytes()
    current.write_bytes(whole[: world.dice.randrange(1, len(whole) - 1)])
    await world.until(lambda: _refusals(world, ArtifactFault.SYNTAX) > count, "a refusal of the pointer")
    await _in_service(world, good)
    current.write_bytes(whole)
    await _promoted(world)


async def full_registry(world: World) -> None:
    """No file may grow beyond some bytes: wherever that hits, nothing of the attempt is seen."""
    good = world.model
    versions, intercept = set(world.registry.versions()), _an_intercept(world)
    largest = max(file.stat().st_size for file in (world.registry.root / "models" / good).iterdir())
    failed = await _register(world, intercept, room=world.dice.randrange(1, largest * 9 // 10))
    assert failed.returncode not in (0, None), "it registered a model on a full disk"
    assert b"File too large" in failed.stderr, failed.stderr[-500:]
    left = [path.name for path in (world.registry.root / "models").glob(".writing-*")]
    assert not left, f"left behind: {left}"
    assert set(world.registry.versions()) == versions, "half a model has a name"
    await _in_service(world, good)
    await _promoted(world)


def kill_registering(point: str) -> Inject:
    async def inject(world: World) -> None:
        before, intercept = world.model, _an_intercept(world)
        order = give(world.points, "registering", Order(point, world.dice.randint(1, 2) if "between" in point else 1))
        killed = await _register(world, intercept)
        assert killed.returncode == -signal.SIGKILL, f"it ended with {killed.returncode}: {killed.stderr[-500:]!r}"
        assert not order.exists()
        for version in world.registry.versions():
            world.registry.load(version)
        now = world.registry.current()
        assert now in world.registry.versions(), f"{now} is in service, and isn't there"
        await _in_service(world, now or before)
        again = await _register(world, intercept)
        assert again.returncode == 0, again.stderr[-500:]
        await _taken_over(world)

    return inject


def _next(world: World) -> str:
    return register(world.registry, intercept=_an_intercept(world))


def _an_intercept(world: World) -> float:
    return world.dice.uniform(-3.0, -1.0)


def _point(world: World, name: str, version: str) -> None:
    """By hand: a promotion would look at the model first."""
    world.registry._write_pointer(name, Pointer(version, NOW, "chaos"))


async def _register(world: World, intercept: float, room: int | None = None) -> subprocess.CompletedProcess[bytes]:
    root = world.registry.root
    command = [sys.executable, "-m", "tests.chaos.registering", str(root), str(world.data_dir / PRIVATE_KEY)]
    command += [str(intercept), *([] if room is None else [str(room)])]
    return await asyncio.to_thread(
        subprocess.run, command, env=world.system.environment, capture_output=True, check=False, timeout=REGISTERING_S
    )


async def _promoted(world: World) -> None:
    """The next sound one is taken: what was refused stands in nobody's way."""
    version = await asyncio.to_thread(_next, world)
    await asyncio.to_thread(world.registry.promote, version, "chaos")
    await _taken_over(world)


async def _taken_over(world: World) -> None:
    world.model = world.registry.current() or ""
    await world.until(lambda: _champion(world) == {world.model}, f"model {world.model} in service")


async def _in_service(world: World, version: str) -> None:
    """By what the scorer says of itself, and by what it decides with."""
    await world.until(lambda: _champion(world) == {version}, f"model {version} in service")
    name = f"model-{world.dice.getrandbits(32):08x}"
    async with httpx.AsyncClient(base_url=world.system.http, timeout=30) as http:
        for _, body in world.purchases(name, 10):
            answer = await http.post("/v1/decisions", content=body, headers={"Content-Type": "application/json"})
            decision = json.loads(answer.content)
            if decision.get("degraded") is None:
                assert decision["model_version"] == version, f"decided with {decision['model_version']}"
                return
            assert decision["degraded"] == "rebuilding", decision["degraded"]  # it has just been started again
            await asyncio.sleep(1.0)
    raise AssertionError("no decision that isn't degraded")


def _champion(world: World) -> set[str]:
    prefix, end = 'flit_model_info{role="champion",version="', '"}'
    return {
        name.removeprefix(prefix).removesuffix(end)
        for name, value in world.metrics("scorer").items()
        if name.startswith(prefix) and value == 1
    }


def _refusals(world: World, reason: ArtifactFault) -> float:
    return world.metrics("scorer").get(f'flit_scorer_model_refused_total{{reason="{reason.value}"}}', 0.0)


FAULTS: tuple[Fault, ...] = (
    Fault("model-bit-flipped", "scorer", refused(bit_flipped, ArtifactFault.HASH)),
    Fault("model-half-written", "scorer", refused(half_written, ArtifactFault.HASH)),
    Fault("model-without-manifest", "scorer", refused(without_manifest, ArtifactFault.MISSING)),
    Fault("model-wrong-inputs", "scorer", refused(wrong_inputs, ArtifactFault.SHAPE)),
    Fault("model-unsigned", "scorer", refused(unsigned, ArtifactFault.SIGNATURE)),
    Fault("model-half-a-pointer", "scorer", half_a_pointer),
    Fault("full-registry", "registry", full_registry),
    *(
        Fault(f"kill-trainer-{place.point}", "trainer", kill_registering(place.point))
        for place in PLACES["registering"]
    ),
)
