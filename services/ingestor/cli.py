"""The command line. Its flags are the `INGESTOR__` variables under another name, checked in the same place."""

from __future__ import annotations

import argparse
from collections.abc import MutableMapping, Sequence
from datetime import UTC, datetime

from shared.contracts.identity import canonical_time
from shared.contracts.rejections import RejectionReason

_FLAGS = ("mode", "generator", "rate", "max_events", "start", "end", "daily", "seed", "archive", "again", "first_read")


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The arguments; `command` is None where the environment (`INGESTOR__MODE`) is to say what runs."""
    parser = argparse.ArgumentParser(
        prog="python -m services.ingestor",
        description="Brings purchases and outcomes from the event source onto Kafka.",
        epilog="Settings come from the environment (see services/ingestor/README.md); a flag wins.",
    )
    parser.add_argument("--check", action="store_true", help="try settings and connections, then exit")
    commands = parser.add_subparsers(dest="command", metavar="{live,backfill,replay-dead-letters}")

    live = commands.add_parser("live", help="read the live stream (the default)")
    live.set_defaults(mode="live")
    live.add_argument("--rate", help="events per second, 0.01 to 1000")
    live.add_argument("--max-events", help="end after so many events; 0: never")
    live.add_argument("--generator", help="of the source: bnpl or bnpl_history")

    history = commands.add_parser("backfill", aliases=["history"], help="read a range of past days, resumable")
    history.set_defaults(mode="history")
    history.add_argument("--start", help="first day, such as 2026-06-01")
    history.add_argument("--end", help="last day, included")
    history.add_argument("--daily", help="mean events per day")
    history.add_argument("--seed", help="the same seed gives the same events; not 0")
    history.add_argument("--generator", help="of the source: bnpl or bnpl_history")
    history.add_argument(
        "--to", dest="archive", metavar="FOLDER", help="into files there, for `python -m services.sink load`, not Kafka"
    )

    history.add_argument(
        "--again", action="store_const", const="true", help="also the days that are done: the same events once more"
    )
    history.add_argument(
        "--first-read", metavar="DAY",
        help="where Redis lost the run's cursor: the day on which it was first called (`history_begun` in its log)",
    )  # fmt: skip

    replay = commands.add_parser("replay-dead-letters", help="send refused records again, each of them once")
    replay.add_argument("--reason", choices=[reason.value for reason in RejectionReason], help="only this reason")
    replay.add_argument(
        "--since", type=_moment, metavar="DAY", help="only letters of refusals since then, such as 2026-06-01 (UTC)"
    )
    replay.add_argument("--limit", type=_positive, help="at most so many letters, of each partition the oldest first")
    replay.add_argument("--dry-run", action="store_true", help="only count what would be sent")
    replay.add_argument(
        "--repeated", action="store_true", help="also those that were refused again after an earlier replay"
    )
    return parser.parse_args(arguments)


def to_environment(arguments: argparse.Namespace, environment: MutableMapping[str, str]) -> None:
    """Write the flags that were given over their variables."""
    for name in _FLAGS:
        value = getattr(arguments, name, None)
        if value is not None:
            environment[f"INGESTOR__{name.upper()}"] = value


def _moment(text: str) -> str:
    """A day or a time in canonical form; without a zone it is UTC. Raises ValueError."""
    moment = datetime.fromisoformat(text)
    return canonical_time(moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC))


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise ValueError
    return value
