"""The console's composition root: `python -m services.console`."""

from __future__ import annotations

import argparse
import sys

from services.console.settings import ConsoleSettings
from shared.model_artifact.manifest import ArtifactRefused
from shared.model_artifact.opening import open_registry
from shared.model_artifact.registry import RegistryAway, RegistryUnsupported
from shared.settings import EXIT_BAD_SETTING, load_settings
from shared.telemetry import logging
from shared.telemetry.process import EXIT_FAILED


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m services.console", description="What operators and analysts look at."
    )
    parser.add_argument("--check", action="store_true", help="try settings and connections, then exit")
    arguments = parser.parse_args()
    settings = load_settings(ConsoleSettings)
    logging.configure("console", settings.log.level, settings.log.format)
    try:
        registry = open_registry(settings.model_registry)
    except (RegistryUnsupported, RegistryAway) as refused:
        print(f"bad setting MODEL_REGISTRY__URI: {refused}", file=sys.stderr)
        raise SystemExit(EXIT_BAD_SETTING) from None
    if not arguments.check:
        from services.console.serving import serve  # only here: it takes a second to import

        serve(settings)
        return
    from services.console.scorer import Scorer, ScorerAway
    from services.console.warehouse import Warehouse, WarehouseAway

    failed = False
    for name, check in (
        ("warehouse", lambda: Warehouse(settings.bigquery).check()),
        ("scorer", lambda: Scorer(settings.console.scorer_url, None).check()),
        ("registry", registry.current),
    ):
        try:
            check()
        except (WarehouseAway, ScorerAway, ArtifactRefused, OSError) as error:
            print(f"{name}: {error}", file=sys.stderr)
            failed = True
        else:
            print(f"{name}: ok")
    raise SystemExit(EXIT_FAILED if failed else 0)


if __name__ == "__main__":
    main()
