"""The simulator's composition root: `python -m services.simulator`."""

from __future__ import annotations

import argparse
import socket

import uvloop

from services.simulator.hidden import HiddenFile
from services.simulator.server import serve
from services.simulator.settings import SimulatorSection, SimulatorSettings
from shared.settings import load_settings
from shared.telemetry import logging
from shared.telemetry.process import EXIT_FAILED, run


def check(section: SimulatorSection) -> None:
    """Raises OSError where the port is taken or the hidden file can't be written."""
    with socket.create_server((section.host, section.port)):
        pass
    if section.hidden_file is not None:
        HiddenFile(section.hidden_file).check()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m services.simulator", description=__doc__)
    parser.add_argument("--check", action="store_true", help="try the settings and the port, then exit")
    arguments = parser.parse_args()
    settings = load_settings(SimulatorSettings)
    logging.configure("simulator", settings.log.level, settings.log.format)
    if arguments.check:
        try:
            check(settings.simulator)
        except OSError as error:
            print(f"simulator: {error}")
            raise SystemExit(EXIT_FAILED) from None
        print("simulator: ok")
        return
    run(lambda stop: serve(settings, stop), runner=uvloop.run)


if __name__ == "__main__":
    main()
