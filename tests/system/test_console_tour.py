"""A person's way through the console, in Debian's Chromium, at a desk and on a phone: nothing in the browser's log,
nothing wider than the window. Its pictures go to out/console, or where CONSOLE_SCREENSHOTS says (docs/console holds
those)."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from playwright.sync_api import expect

from deploy.local.ports import free_ports
from deploy.local.services import Service
from deploy.local.stack import EmbeddedStack
from deploy.local.supervisor import Supervisor
from services.scorer.keys import Scope, new_key
from shared.contracts import topics
from shared.contracts.events import Verdict, encode
from shared.contracts.identity import partition_of
from tests.integration.console.world import World, made
from tests.system.browser import DESKTOP, PHONE, Visit, needed, visit
from tests.system.serving import console
from tests.unit.sink.records import PARTITIONS

pytestmark = [pytest.mark.system, pytest.mark.timeout(1800), needed]

SCREENS = {
    "Live": "live",
    "Review queue": "review",
    "Models": "models",
    "Drift": "drift",
    "What-if": "what-if",
    "Dead letters": "dead-letters",
    "System health": "health",
}
PICTURES = Path(os.environ.get("CONSOLE_SCREENSHOTS") or "out/console")


@dataclass(frozen=True)
class Running:
    address: str
    world: World
    key: str
    kafka: str


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """Real parts, the scorer with all decisions on its topic, and the console."""
    folder = tmp_path_factory.mktemp("tour")
    with EmbeddedStack(folder / "stack") as stack:
        world = made(stack.bigquery.settings, folder)
        asyncio.run(_produced(stack.kafka.bootstrap_servers, world, folder, stack))
        http, operations = free_ports(2)
        reader, reader_line = new_key("console", [Scope.READ])
        key, line = new_key("anna", [Scope.REVIEW, Scope.ADMIN])
        (folder / "keys").write_text(f"{reader_line}\n{line}\n")
        settings = {
            **world.environment,
            "SCORER__HTTP_PORT": str(http),
            "SCORER__API_KEYS_FILE": str(folder / "keys"),
            "CONSOLE__SCORER_URL": f"http://127.0.0.1:{http}",
            "CONSOLE__SCORER_KEY": reader,
            "CONSOLE__HEALTH__SCORER": f"http://127.0.0.1:{operations}",
            **{f"CONSOLE__HEALTH__{name}": "" for name in ("INGESTOR", "FEATURES", "SINK", "SIMULATOR")},
        }
        supervisor = Supervisor(stack, folder, settings, [Service("scorer", operations)])
        supervisor.start()
        try:
            with console(supervisor.environment, folder) as address:
                yield Running(address, world, key, stack.kafka.bootstrap_servers)
        finally:
            supervisor.stop()


async def _produced(servers: str, world: World, folder: Path, stack: EmbeddedStack) -> None:
    """All decisions onto their topic, from which a scorer restores what it answers with."""
    create = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "shared.kafka.admin", "create-topics",
        env={**os.environ, "PYTHONPATH": str(Path.cwd()), **stack.environment()},
    )  # fmt: skip
    assert await create.wait() == 0
    producer = AIOKafkaProducer(bootstrap_servers=servers)
    await producer.start()
    try:
        for decision in world.decisions:
            key = decision.customer_id.encode()
            await producer.send(topics.DECISIONS.name, encode(decision), key, partition_of(key, PARTITIONS))
        await producer.flush()
    finally:
        await producer.stop()


def entered(seen: Visit, key: str) -> None:
    """The operator's key, in the sidebar; by keyboard."""
    field = seen.page.get_by_label("Operator's key", exact=True)
    field.fill(key)
    field.press("Enter")
    seen.rest()


def turned_to(seen: Visit, title: str, phone: bool) -> None:
    """By the navigation, which a phone keeps behind a button."""
    if phone:
        seen.page.get_by_test_id("stExpandSidebarButton").click()
    seen.page.get_by_test_id("stSidebarNav").get_by_role("link", name=title).click()
    expect(seen.page.get_by_role("heading", level=1, name=title)).to_be_visible()
    if phone and seen.page.get_by_test_id("stSidebarCollapseButton").is_visible():
        seen.page.get_by_test_id("stSidebarCollapseButton").click()
    seen.rest()


@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_each_page_fits_its_window_and_leaves_the_browsers_log_empty(
    running: Running, size: tuple[int, int], tmp_path: Path
) -> None:
    phone = size == PHONE
    kind = "phone" if phone else "desktop"
    with visit(running.address, size, tmp_path) as seen:
        seen.go("")
        for title, name in SCREENS.items():
            turned_to(seen, title, phone)
            assert seen.page.title() == f"{title} · Flit Risk"
            assert seen.overflow() == [], title
            assert not seen.page.get_by_text("Traceback").count()
            seen.shoot(PICTURES / f"{kind}-{name}.png")
        turned_to(seen, "A decision", phone)
        event = running.world.first(Verdict.DECLINE).event_id
        seen.page.get_by_label("Event id").fill(event)
        seen.page.get_by_label("Event id").press("Enter")
        expect(seen.page.get_by_text("these add up to")).to_be_visible()  # the scorer has explained it
        seen.rest()
        assert seen.overflow() == []
        seen.shoot(PICTURES / f"{kind}-decision.png")
        charts = seen.page.get_by_test_id("stPlotlyChart")
        assert charts.count() == 1
        assert seen.faults == []


def test_an_operator_judges_a_purchase_once_whoever_tries_again(running: Running, tmp_path: Path) -> None:
    with visit(running.address, DESKTOP, tmp_path / "first") as seen:
        seen.go("")
        turned_to(seen, "Review queue", False)
        approve = seen.page.get_by_role("button", name="Approve")
        expect(approve).to_be_disabled()
        entered(seen, running.key)
        expect(seen.page.get_by_text("You may give verdicts, switch models")).to_be_visible()
        expect(approve).to_be_enabled()
        expect(seen.page.get_by_text("Verdicts are off")).to_be_hidden()
        seen.shoot(PICTURES / "desktop-review-operator.png")
        approve.focus()
        seen.page.keyboard.press("Enter")
        expect(seen.page.get_by_text("Approved, as anna: recorded.").first).to_be_visible()
        assert seen.faults == []
    # Another session, to which the warehouse can't tell of it yet: no sink runs here.
    with visit(running.address, DESKTOP, tmp_path / "second") as seen:
        seen.go("")
        turned_to(seen, "Review queue", False)
        entered(seen, running.key)
        seen.page.get_by_role("button", name="Decline").click()
        expect(seen.page.get_by_text("A verdict on this purchase was sent before")).to_be_visible()
    said = asyncio.run(_updates(running.kafka))
    assert [(one["verdict"], one["actor"]) for one in said] == [("approve", "anna")]


async def _updates(servers: str) -> list[dict[str, Any]]:
    """What is on decision-updates now."""
    consumer = AIOKafkaConsumer(bootstrap_servers=servers, enable_auto_commit=False, auto_offset_reset="earliest")
    await consumer.start()
    try:
        partitions = [TopicPartition(topics.DECISION_UPDATES.name, number) for number in range(PARTITIONS)]
        consumer.assign(partitions)
        ends, said = await consumer.end_offsets(partitions), []
        while any([await consumer.position(one) < ends[one] for one in partitions]):
            batch = await consumer.getmany(timeout_ms=200)
            said += [json.loads(record.value) for records in batch.values() for record in records]
        return said
    finally:
        await consumer.stop()


def test_a_promotion_names_the_version_and_asks_before_it_is_made(running: Running, tmp_path: Path) -> None:
    before, other = running.world.registry.current(), running.world.registry.previous()
    assert before is not None and other is not None
    with visit(running.address, DESKTOP, tmp_path) as seen:
        seen.go("")
        turned_to(seen, "Models", False)
        entered(seen, running.key)
        seen.page.get_by_role("button", name="Roll back …").click()
        sure = seen.page.get_by_role("button", name=f"Roll back to {other}")
        expect(sure).to_be_visible()
        assert running.world.registry.current() == before
        seen.shoot(PICTURES / "desktop-models-rollback.png")
        sure.click()
        expect(seen.page.get_by_text(f"{other} is in service again.")).to_be_visible()
        assert running.world.registry.current() == other
        assert seen.faults == []


def test_a_decision_is_replayed_from_its_page(running: Running, tmp_path: Path) -> None:
    with visit(running.address, DESKTOP, tmp_path) as seen:
        seen.go("")
        turned_to(seen, "A decision", False)
        seen.page.get_by_label("Event id").fill(running.world.first(Verdict.APPROVE).event_id)
        seen.page.get_by_label("Event id").press("Enter")
        seen.page.get_by_role("button", name="Replay").click()
        expect(seen.page.get_by_text("the same bytes")).to_be_visible(timeout=240_000)
        assert seen.faults == []
