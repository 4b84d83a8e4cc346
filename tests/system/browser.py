"""Debian's Chromium, driven as a person would: a page is looked at once it has come to rest."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from playwright.sync_api import ConsoleMessage, Page, expect, sync_playwright

CHROMIUM = shutil.which("chromium")
FLAGS = (
    # The driver's own sandbox doesn't work for root, as whom tests run in containers.
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    # It would look for updates and models at hosts that a closed network refuses.
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--force-prefers-reduced-motion",
)
DESKTOP, PHONE = (1280, 900), (390, 844)
"""CSS pixels; the phone is the narrowest of those that are common."""

PATIENCE_MS = 120_000
"""A starved machine takes long; what must be fast is measured where nothing else runs."""

expect.set_options(timeout=PATIENCE_MS)
"""Its own five seconds are for a machine that has nothing else to do."""

AT_REST = '[data-testid="stApp"][data-test-script-state="notRunning"]'
"""How Streamlit says that the page's program has ended."""

needed = pytest.mark.skipif(CHROMIUM is None, reason="Debian's package chromium is not installed")


@dataclass
class Visit:
    """One browser window, and what went wrong in it."""

    page: Page
    address: str
    faults: list[str] = field(default_factory=list)

    def go(self, path: str) -> None:
        self.page.goto(f"{self.address}/{path}")
        self.rest()

    def rest(self) -> None:
        """Until the page's program has ended, and nothing of what it drew is a placeholder any more."""
        self.page.wait_for_selector(AT_REST, timeout=PATIENCE_MS)
        self.page.wait_for_selector("h1", timeout=PATIENCE_MS)
        self.page.wait_for_function(
            "() => !document.querySelector('[data-testid=\"stSkeleton\"]')", timeout=PATIENCE_MS
        )

    def overflow(self) -> list[str]:
        """Whatever makes the page wider than its window, by its test id or tag; nothing where it fits."""
        wide: list[str] = self.page.evaluate(
            """() => {
              const room = document.documentElement.clientWidth;
              const scroller = document.querySelector('[data-testid="stMain"]') || document.scrollingElement;
              if (document.scrollingElement.scrollWidth <= room && scroller.scrollWidth <= scroller.clientWidth)
                return [];
              return [...document.querySelectorAll('body *')]
                .filter(one => one.getBoundingClientRect().right > room + 1)
                .map(one => one.getAttribute('data-testid') || one.tagName).slice(0, 10);
            }"""
        )
        return wide

    def shoot(self, file: Path) -> None:
        file.parent.mkdir(parents=True, exist_ok=True)
        self.page.screenshot(path=file, animations="disabled")


@contextmanager
def visit(address: str, size: tuple[int, int], profile: Path) -> Iterator[Visit]:
    """A new window of that size. `profile`: an empty folder for what the browser keeps."""
    assert CHROMIUM is not None
    with sync_playwright() as driver:
        browser = driver.chromium.launch_persistent_context(
            profile, executable_path=CHROMIUM, headless=True, args=list(FLAGS),
            viewport={"width": size[0], "height": size[1]}, env=dict(os.environ),
        )  # fmt: skip
        try:
            page = browser.new_page()
            page.set_default_timeout(PATIENCE_MS)
            seen = Visit(page, address)

            def noted(message: ConsoleMessage) -> None:
                if message.type == "error":
                    seen.faults.append(f"{page.url}: {message.text} ({message.location.get('url', '')})")

            page.on("console", noted)
            page.on("pageerror", lambda error: seen.faults.append(f"{page.url}: {error}"))
            yield seen
        finally:
            browser.close()
