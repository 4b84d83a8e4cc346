"""Structured logs: one JSON object a line, so that a machine can read what a person wrote."""

from __future__ import annotations

import logging
import sys
from typing import Literal

import structlog

from shared.telemetry.log_fields import bounded, plain_traceback

_NOISY = ("aiokafka", "faust", "mode", "httpx", "httpcore", "uvicorn.access", "google", "urllib3", "grpc")
"""Libraries whose chatter at INFO would bury our own lines; their warnings still come through."""


def configure(service: str, level: str = "INFO", style: Literal["json", "console"] = "json") -> None:
    """Send all logs of the process, the libraries' included, to standard error in one format.

    Only fields that `shared.telemetry.log_fields` allows are written.
    """
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    renderer = (
        structlog.processors.JSONRenderer()
        if style == "json"
        else structlog.dev.ConsoleRenderer(
            colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback
        )
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.ExceptionRenderer(plain_traceback),
                bounded,
                renderer,
            ],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for name in _NOISY:
        logging.getLogger(name).setLevel(max(logging.WARNING, logging.getLevelNamesMapping()[level]))
    structlog.contextvars.bind_contextvars(service=service)
