"""Alerts: over real sockets, to a webhook and a mail server of the test's own."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from pydantic import ValidationError

from shared.alerts import Alerts, AlertsSettings, Severity
from shared.alerts import ways as alert_ways
from shared.alerts.message import MOST_LINES
from shared.alerts.told import LEASE_S, MOST, MOST_CRITICAL, PAUSE_S, REMIND_S, WINDOW_S
from tests.deployment import REPOSITORY
from tests.unit.shared.alerts.receivers import Clock, Mailbox, Webhook, delivering, listening, settings_of

LINES = ["outcomes: column values to be unique of event_id", "2 rows"]


PATIENCE_S = 120.0


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """How busy the machine is decides no test."""
    monkeypatch.setattr(alert_ways, "DEADLINE_S", PATIENCE_S)
    monkeypatch.setattr(alert_ways, "STEP_S", PATIENCE_S)


@pytest.fixture
def webhook() -> Iterator[Webhook]:
    with listening(Webhook()) as hook:
        yield hook


@pytest.fixture
def mailbox() -> Iterator[Mailbox]:
    with delivering(Mailbox()) as box:
        yield box


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def alerts(tmp_path: Path, webhook: Webhook, clock: Clock) -> Alerts:
    return Alerts(settings_of(tmp_path, webhook=webhook), "trainer", clock=clock)


def test_an_alert_reaches_slack_and_the_mailbox(tmp_path: Path, webhook: Webhook, mailbox: Mailbox) -> None:
    settings = settings_of(tmp_path, webhook=webhook, mailbox=mailbox)
    sent = Alerts(settings, "trainer").send(
        "training refused", LINES, severity=Severity.CRITICAL, runbook="docs/x.md", link="https://flit.test/pages"
    )
    assert sent == ["slack", "email"]
    assert webhook.paths == ["/services/T0/B0/secret0"]
    (body,) = webhook.posted
    assert list(body) == ["text"]
    assert body["text"].splitlines() == [
        ":rotating_light: *training refused* (trainer, critical)",
        *(f"• {line}" for line in LINES),
        "Run-book: docs/x.md",
        "<https://flit.test/pages|Look at>",
    ]
    (letter,) = mailbox.letters
    assert letter["Subject"] == "[Flit Risk] critical: training refused"
    assert mailbox.receivers == [["a@flit.test", "b@flit.test"]]
    payload = letter.get_payload(decode=True)
    assert isinstance(payload, bytes)
    assert all(line in payload.decode() for line in [*LINES, "Run-book: docs/x.md", "https://flit.test/pages"])


def test_one_outage_gives_one_alert_and_one_word_that_it_is_over(
    alerts: Alerts, webhook: Webhook, clock: Clock
) -> None:
    for _ in range(100):
        alerts.send("the warehouse doesn't answer", LINES, key="warehouse")
        clock.now += 10
    assert alerts.resolve("warehouse") == ["slack"]
    assert alerts.resolve("warehouse") == []
    first, over = webhook.texts
    assert first.startswith(":warning: *the warehouse doesn't answer*")
    assert over.startswith(":white_check_mark: *resolved: the warehouse doesn't answer*")
    assert "and 99 times more" in over


def test_the_next_outage_is_told_again(alerts: Alerts, webhook: Webhook) -> None:
    alerts.send("away", [], key="warehouse")
    alerts.resolve("warehouse")
    assert alerts.send("away", [], key="warehouse") == ["slack"]
    assert len(webhook.posted) == 3


def test_what_nobody_was_told_of_is_not_said_to_be_over(alerts: Alerts, webhook: Webhook) -> None:
    assert alerts.resolve("warehouse") == []
    assert webhook.posted == []


def test_a_restarted_process_knows_what_people_have_been_told(tmp_path: Path, webhook: Webhook, clock: Clock) -> None:
    settings = settings_of(tmp_path, webhook=webhook)
    for _ in range(3):
        Alerts(settings, "trainer", clock=clock).send("away", [], key="warehouse")
    assert Alerts(settings, "trainer", clock=clock).resolve("warehouse") == ["slack"]
    assert len(webhook.posted) == 2


def test_of_processes_at_the_same_moment_one_tells(tmp_path: Path, webhook: Webhook) -> None:
    """Threads, each which opens the state for itself: to the lock they are as strange as processes."""
    settings = settings_of(tmp_path, webhook=webhook)
    together = threading.Barrier(8)

    def alert(_: int) -> list[str]:
        together.wait()
        return Alerts(settings, "trainer").send("away", [], key="warehouse")

    with ThreadPoolExecutor(8) as pool:
        told = list(pool.map(alert, range(8)))
    assert sorted(told) == [[]] * 7 + [["slack"]]
    assert len(webhook.posted) == 1


def test_something_worse_of_the_same_kind_is_told(alerts: Alerts, webhook: Webhook) -> None:
    alerts.send("slow", [], key="warehouse", severity=Severity.WARNING)
    assert alerts.send("away", [], key="warehouse", severity=Severity.CRITICAL) == ["slack"]
    assert alerts.send("slow", [], key="warehouse", severity=Severity.WARNING) == []
    assert len(webhook.posted) == 2


def test_what_lasts_for_days_is_told_once_more(alerts: Alerts, webhook: Webhook, clock: Clock) -> None:
    alerts.send("away", [], key="warehouse")
    alerts.send("away", [], key="warehouse")
    clock.now += REMIND_S
    assert alerts.send("away", [], key="warehouse") == ["slack"]
    assert "still so: since 2026-05-28T20:26:40.000000Z, and 1 times more" in webhook.texts[1]


def test_a_flood_of_different_alerts_is_capped_and_counted(alerts: Alerts, webhook: Webhook, clock: Clock) -> None:
    for number in range(MOST + 7):
        alerts.send(f"thing {number}", [])
    assert len(webhook.posted) == MOST
    assert "further alerts of this hour are held back" in webhook.texts[-1]
    clock.now += WINDOW_S
    alerts.send("one more", [])
    alerts.send("and one more", [])
    assert "7 other alerts were held back" in webhook.texts[-2]
    assert "held back" not in webhook.texts[-1]


def test_a_flood_leaves_room_for_critical_ones(alerts: Alerts, webhook: Webhook) -> None:
    for number in range(MOST + 1):
        alerts.send(f"thing {number}", [])
    for number in range(MOST_CRITICAL):
        alerts.send(f"fire {number}", [], severity=Severity.CRITICAL)
    assert len(webhook.posted) == MOST_CRITICAL


def test_an_alert_held_back_by_the_cap_is_told_once_there_is_room(
    alerts: Alerts, webhook: Webhook, clock: Clock
) -> None:
    for number in range(MOST):
        alerts.send(f"thing {number}", [])
    assert alerts.send("late", [], key="late") == []
    clock.now += WINDOW_S
    assert alerts.send("late", [], key="late") == ["slack"]


def test_what_reached_nobody_is_told_later_and_meanwhile_nobody_waits(
    alerts: Alerts, webhook: Webhook, clock: Clock
) -> None:
    webhook.status = 500
    assert alerts.send("away", [], key="warehouse") == []
    webhook.status = 200
    assert alerts.send("away", [], key="warehouse") == []
    assert webhook.posted == []
    clock.now += PAUSE_S
    assert alerts.send("away", [], key="warehouse") == ["slack"]


def test_that_it_is_over_is_said_again_until_it_arrives(alerts: Alerts, webhook: Webhook, clock: Clock) -> None:
    alerts.send("away", [], key="warehouse")
    webhook.status = 503
    assert alerts.resolve("warehouse") == []
    webhook.status = 200
    clock.now += PAUSE_S
    assert alerts.resolve("warehouse") == ["slack"]


def test_a_process_killed_while_it_told_leaves_the_alert_to_the_next(
    alerts: Alerts, tmp_path: Path, clock: Clock
) -> None:
    (tmp_path / "alerts").mkdir()
    (tmp_path / "alerts" / "told.json").write_text(json.dumps({"telling": {"warehouse": clock.now + LEASE_S}}))
    assert alerts.send("away", [], key="warehouse") == []
    clock.now += LEASE_S
    assert alerts.send("away", [], key="warehouse") == ["slack"]


def test_a_way_that_fails_holds_up_neither_the_other_nor_the_caller(
    tmp_path: Path, webhook: Webhook, mailbox: Mailbox
) -> None:
    webhook.status = 500
    sender = Alerts(settings_of(tmp_path, webhook=webhook, mailbox=mailbox), "trainer")
    assert sender.send("title", [], key="k") == ["email"]
    assert sender.send("title", [], key="k") == []
    assert len(mailbox.letters) == 1


def test_attempts_that_reached_nobody_leave_room_for_those_that_do(
    alerts: Alerts, webhook: Webhook, clock: Clock
) -> None:
    """A webhook is away for half an hour while something is told again and again: it tells as soon as it is back."""
    webhook.status = 503
    for _ in range(180):
        alerts.send("the source is away", ["no line for a minute"])
        clock.now += 10
    webhook.status = 200
    clock.now += PAUSE_S
    webhook.posted.clear()
    assert alerts.send("the source is away", ["no line for a minute"]) == ["slack"]
    assert "held back" not in webhook.posted[0]["text"]


def test_the_end_of_an_alert_that_reaches_nobody_takes_no_room_from_others(
    alerts: Alerts, webhook: Webhook, clock: Clock
) -> None:
    for number in range(MOST):
        alerts.send(f"alert {number}", ["a line"])
    webhook.status = 503
    assert alerts.resolve("alert 0") == []
    webhook.status = 200
    clock.now += PAUSE_S
    assert alerts.send("one too many", ["a line"]) == []


def test_a_receiver_that_the_server_refuses_has_nothing_told_twice(tmp_path: Path, mailbox: Mailbox) -> None:
    mailbox.refused = frozenset({"b@flit.test"})
    sender = Alerts(settings_of(tmp_path, mailbox=mailbox), "trainer")
    assert [sender.send("title", [], key="k") for _ in range(2)] == [["email"], []]
    assert mailbox.receivers == [["a@flit.test"]]


def test_a_webhook_that_never_answers_keeps_the_caller_no_longer_than_the_deadline(
    tmp_path: Path, webhook: Webhook, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(alert_ways, "DEADLINE_S", 0.5)
    webhook.answers.clear()
    began = time.monotonic()
    assert Alerts(settings_of(tmp_path, webhook=webhook), "trainer").send("title", []) == []
    assert time.monotonic() - began < PATIENCE_S / 2


def test_state_that_can_not_be_kept_keeps_no_alert_back(tmp_path: Path, webhook: Webhook) -> None:
    (tmp_path / "alerts").write_text("not a folder")
    sender = Alerts(settings_of(tmp_path, webhook=webhook), "trainer")
    assert sender.send("title", [], key="k") == ["slack"]
    assert sender.send("title", [], key="k") == []  # this process knows at least


def test_state_that_can_not_be_read_keeps_no_alert_back(tmp_path: Path, webhook: Webhook) -> None:
    (tmp_path / "alerts").mkdir()
    (tmp_path / "alerts" / "told.json").write_text('{"open": 3')
    assert Alerts(settings_of(tmp_path, webhook=webhook), "trainer").send("title", []) == ["slack"]


def test_a_clock_that_was_put_back_silences_nothing(alerts: Alerts, clock: Clock) -> None:
    alerts.send("away", [], key="warehouse")
    clock.now -= 86_400
    assert alerts.send("away", [], key="warehouse") == ["slack"]


def test_nobodys_text_rings_a_whole_channel(alerts: Alerts, webhook: Webhook) -> None:
    alerts.send("<!channel> title", ["<!here> & <https://evil.test|click>"])
    assert "<!" not in webhook.texts[0]
    assert "<http" not in webhook.texts[0]


def test_a_page_of_faults_is_cut_and_says_so(alerts: Alerts, webhook: Webhook) -> None:
    alerts.send("title", ["x" * 10_000, *map(str, range(MOST_LINES + 4))])
    assert "… and 5 more lines" in webhook.texts[0]
    assert len(webhook.texts[0]) < 1_000


def test_without_settings_the_log_is_all(tmp_path: Path) -> None:
    sender = Alerts(AlertsSettings(state=tmp_path / "alerts"), "trainer")
    assert sender.send("title", LINES) == []
    assert sender.resolve("title") == []
    assert list(tmp_path.iterdir()) == []


def test_no_log_holds_an_address_or_its_secret(tmp_path: Path, webhook: Webhook, mailbox: Mailbox) -> None:
    """In a process of its own, at the level that writes most, with a webhook that refuses and a letter that fails."""
    webhook.status = 403
    mailbox.refused = frozenset({"a@flit.test", "b@flit.test"})
    environment = os.environ | {
        "ALERTS__SLACK_WEBHOOK_URL": webhook.url,
        "ALERTS__SMTP_URL": mailbox.url.replace("127.0.0.1", "user:hunter2@127.0.0.1"),
        "ALERTS__STATE": str(tmp_path / "alerts"),
        "LOG__LEVEL": "DEBUG",
        "PYTHONPATH": str(REPOSITORY),
    }
    command = [sys.executable, "-m", "shared.alerts", "title"]
    done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stderr.count("alert_not_sent") == 2
    assert "error=403" in done.stderr
    for secret in ("secret0", "hunter2", "flit.test"):
        assert secret not in done.stderr + done.stdout


def test_the_library_does_not_log_by_itself(alerts: Alerts, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        alerts.send("title", [])
    assert not [record for record in caplog.records if record.name.startswith("apprise")]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("slack_webhook_url", "file:///etc/passwd"),
        ("slack_webhook_url", "https:///services/T0"),
        ("smtp_url", "http://host?from=a@b&to=c@d"),
        ("smtp_url", "smtp://host?from=a@b"),
        ("smtp_url", "smtp:///?from=a@b&to=c@d"),
        ("smtp_url", "smtp://host:port?from=a@b&to=c@d"),
        ("smtp_url", "smtp://host?from=nobody&to=c@d"),
    ],
)
def test_an_address_that_could_never_work_is_a_bad_setting(name: str, value: str) -> None:
    with pytest.raises(ValidationError):
        AlertsSettings.model_validate({name: value})


def test_secrets_of_the_addresses_are_in_no_text() -> None:
    settings = AlertsSettings.model_validate({"smtp_url": "smtps://user:hunter2@host?from=a@b&to=c@d"})
    assert "hunter2" not in repr(settings)
