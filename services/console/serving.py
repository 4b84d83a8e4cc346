"""Streamlit as this service runs it, and the operations port beside it."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

from services.console.settings import ConsoleSection, ConsoleSettings
from shared.telemetry.operations import OperationsServer

FOLDER = Path(__file__).parent
PROBE_TIMEOUT_S = 1.0


def options(section: ConsoleSection) -> dict[str, Any]:
    """Streamlit's own settings, by name."""
    return {
        "server.address": section.host,
        "server.port": section.port,
        "server.headless": True,
        "server.fileWatcherType": "none",
        "server.runOnSave": False,
        # Nobody uploads anything here.
        "server.maxUploadSize": 1,
        "browser.gatherUsageStats": False,
        "logger.hideWelcomeMessage": True,
        # Trouble is told in words on the page; a traceback belongs into the log.
        "client.showErrorDetails": "none",
        "client.toolbarMode": "minimal",
        "theme.base": str(FOLDER / "theme.toml"),
    }


def serve(settings: ConsoleSettings) -> None:
    """Until SIGINT or SIGTERM."""
    from streamlit import config
    from streamlit.web import bootstrap

    host, port = settings.console.host, settings.console.port
    with OperationsServer(settings.metrics.port, lambda: not_ready(host, port), settings.metrics.host):
        chosen = options(settings.console)
        # As its own command does it: the configuration first, for the server is built from it.
        flags = {name.replace(".", "_"): value for name, value in chosen.items()}
        bootstrap.load_config_options(flag_options=flags)
        assert config.get_option("server.port") == port
        bootstrap.run(str(FOLDER / "app.py"), False, [], flags)


def not_ready(host: str, port: int) -> str | None:
    """Why nobody should be sent to the pages; None: they are served. What they read may be away: they say so."""
    reached = "127.0.0.1" if host == "0.0.0.0" else host  # noqa: S104  # compared, not bound
    try:
        socket.create_connection((reached, port), timeout=PROBE_TIMEOUT_S).close()
    except OSError as error:
        return f"the pages are not served: {error.strerror or error}"
    return None
