"""`python -m services.trainer`: composes settings, warehouse and registry, and runs one command."""

from __future__ import annotations

import json
import sys
from argparse import Namespace
from contextlib import ExitStack
from typing import Any

import structlog

from services.trainer import cli, switch
from services.trainer.settings import TrainerSettings
from shared.model_artifact.alone import Busy
from shared.model_artifact.manifest import ArtifactRefused
from shared.model_artifact.opening import open_registry
from shared.model_artifact.registry import ModelRegistry, PromotionConflict, RegistryAway, RegistryUnsupported
from shared.model_artifact.signing import KeyFileError, ManifestSigner, ManifestVerifier
from shared.settings import EXIT_BAD_SETTING, ModelRegistrySettings, load_settings
from shared.telemetry import logging
from shared.telemetry.operations import OperationsServer, operations_of_job
from shared.telemetry.process import EXIT_FAILED

log = structlog.get_logger()


EXIT_TOO_EARLY = 75
"""Of sysexits.h, EX_TEMPFAIL: nothing is wrong, and later it may be done. Too little has matured, no model is in
service yet, or somebody else trains."""


def main() -> None:
    arguments = cli.parse()
    settings = load_settings(TrainerSettings)
    lacking = settings.lacks_for(arguments.command)
    if lacking is not None:
        print(f"bad setting {lacking}: must be set in the production profile", file=sys.stderr)
        raise SystemExit(EXIT_BAD_SETTING)
    logging.configure("trainer", settings.log.level, settings.log.format)
    try:
        registry = registry_of(settings.model_registry)
    except KeyFileError as refused:
        print(f"bad setting MODEL_REGISTRY__SIGNING_KEY_FILE or __PUBLIC_KEYS_FILE: {refused}", file=sys.stderr)
        raise SystemExit(EXIT_BAD_SETTING) from None
    except (RegistryUnsupported, RegistryAway) as refused:
        print(f"bad setting MODEL_REGISTRY__URI: {refused}", file=sys.stderr)
        raise SystemExit(EXIT_BAD_SETTING) from None
    # Only now: these take a second to import, and `--help` and a bad setting should not wait for them.
    from services.trainer.examples import TooEarly, TrainingRefused
    from services.trainer.export import ExportRefused
    from services.trainer.families import FamilyRefused
    from services.trainer.promotion.ladder import LadderRefused
    from services.trainer.warehouse import WarehouseUnavailable

    try:
        answer = run(arguments, settings, registry)
    except (TooEarly, Busy) as early:
        log.warning("too_early", command=arguments.command, reason=str(early))
        raise SystemExit(EXIT_TOO_EARLY) from None
    except (
        TrainingRefused, ExportRefused, FamilyRefused, ArtifactRefused, PromotionConflict, RegistryAway,
        WarehouseUnavailable, LadderRefused,
    ) as refused:  # fmt: skip
        log.error("refused", command=arguments.command, reason=str(refused))
        raise SystemExit(EXIT_FAILED) from None
    tracked_at = settings.trainer.mlflow_tracking_uri
    if tracked_at is not None:
        from services.trainer import tracking

        if arguments.command in tracking.MOVING:
            tracking.keep_in_step(tracked_at, registry)
    status = answer.pop("exit_status", 0)
    print(json.dumps(answer, allow_nan=False))
    raise SystemExit(status)


def registry_of(settings: ModelRegistrySettings) -> ModelRegistry:
    """The registry, with whatever keys are set. Raises KeyFileError, RegistryUnsupported.

    Without public keys, one that signs takes its own signatures only: a model that was left unsigned is registered
    again, signed.
    """
    signer = None if settings.signing_key_file is None else ManifestSigner.from_file(settings.signing_key_file)
    verifier = signer.verifier if signer is not None else None
    if settings.public_keys_file is not None:
        verifier = ManifestVerifier.from_file(settings.public_keys_file)
    return open_registry(settings, signer=signer, verifier=verifier)


def run(arguments: Namespace, settings: TrainerSettings, registry: ModelRegistry) -> dict[str, Any]:
    """The answer of the command. Raises what the command refuses with."""
    if arguments.command in switch.COMMANDS and not arguments.check:
        return switch.COMMANDS[arguments.command](registry, arguments)
    from tqdm import tqdm

    from services.trainer import data_commands, ladder_commands, score_command
    from services.trainer.commands import STEPS, Trainer
    from services.trainer.job import Job
    from services.trainer.lifecycle import command as lifecycle
    from services.trainer.maturity import commands as maturity
    from services.trainer.monitoring import command as monitoring
    from services.trainer.warehouse import Warehouse

    warehouse = Warehouse(settings.bigquery)
    if arguments.check:
        registry.current()
        warehouse.check()
        return {"warehouse": "ok", "registry": "ok"}
    with ExitStack() as stack:
        serve = OperationsServer if arguments.command in lifecycle.COMMANDS else operations_of_job
        stack.enter_context(serve(settings.metrics.port, lambda: None, settings.metrics.host))
        # To standard error, and only on a terminal: standard output holds the answer alone.
        # Scoring has a bar of its own, which counts rows; the loop has no end.
        hidden = True if arguments.command in (*score_command.COMMANDS, *lifecycle.COMMANDS) else None
        steps = STEPS | dict.fromkeys(monitoring.COMMANDS, monitoring.STEPS)
        bar = stack.enter_context(tqdm(total=steps.get(arguments.command), desc=arguments.command, disable=hidden))

        def step(name: str) -> None:
            bar.set_postfix_str(name)
            bar.update()

        kinds: dict[str, type[Job]] = {
            **dict.fromkeys(data_commands.COMMANDS, data_commands.Data),
            **dict.fromkeys(ladder_commands.COMMANDS, ladder_commands.Climbing),
            **dict.fromkeys(lifecycle.COMMANDS, lifecycle.Watching),
            **dict.fromkeys(maturity.COMMANDS, maturity.Maturity),
            **dict.fromkeys(monitoring.COMMANDS, monitoring.Monitoring),
            **dict.fromkeys(score_command.COMMANDS, score_command.Scoring),
        }
        job = kinds.get(arguments.command, Trainer)(settings, warehouse, registry, step)
        answer: dict[str, Any] = getattr(job, arguments.command.replace("-", "_"))(arguments)
    return answer


if __name__ == "__main__":
    main()
