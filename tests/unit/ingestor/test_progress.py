from __future__ import annotations

import io
import logging
import sys
from datetime import date

import pytest
from rich.console import Console

from services.ingestor.progress import TerminalProgress

START, END = date(2026, 6, 1), date(2026, 6, 4)


def shown(*, terminal: bool) -> str:
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=terminal, width=120)
    with TerminalProgress(START, END, console) as progress:
        progress.day_completed(date(2026, 6, 3), 961, 3583)
    return screen.getvalue()


def test_a_terminal_shows_the_days_done_and_the_events() -> None:
    screen = shown(terminal=True)
    assert "2026-06-03" in screen
    assert "3/4" in screen
    assert "3,583 events" in screen


def test_without_a_terminal_nothing_is_drawn() -> None:
    assert shown(terminal=False).strip() == ""


def test_logs_go_where_they_went_before_once_the_bar_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    handler = logging.StreamHandler(sys.stderr)
    monkeypatch.setattr(logging.getLogger(), "handlers", [handler])
    shown(terminal=True)
    assert handler.stream is sys.stderr
