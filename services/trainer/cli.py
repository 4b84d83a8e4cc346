"""The trainer's command line."""

from __future__ import annotations

import argparse
import re
import secrets
from datetime import UTC, datetime
from pathlib import Path

from shared.contracts.identity import canonical_time, epoch_micros
from shared.experiments import Arm, Experiment

BY_HAND = "operator"


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """`command` is None only with `--check`. Times come out in microseconds since 1970."""
    parser = argparse.ArgumentParser(
        prog="python -m services.trainer", description="Trains, judges and promotes risk models."
    )
    parser.add_argument("--check", action="store_true", help="try settings, warehouse and registry, then exit")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")

    train = commands.add_parser("train", help="train on matured outcomes, register, and promote if it is better")
    train.add_argument("--as-of", type=_moment, help="what has matured by then counts (default: the last purchase)")
    train.set_defaults(defaults=0)  # matured ones that there have to be: what looks after the models knows how many
    train.add_argument("--since", type=_moment, help="learn from purchases since then alone (default: from all)")
    train.add_argument(
        "--promote", action=argparse.BooleanOptionalAction, default=True, help="put it in service if the gate allows"
    )
    train.add_argument("--hidden", type=Path, help="a simulator's hidden file: report the ceiling too")
    train.add_argument(
        "--family",
        action="append",
        default=[],
        metavar="NAME",
        help="of the models that compete, one or more (default: TRAINER__FAMILIES); see `families`",
    )
    train.add_argument(
        "--labels",
        choices=["matured", "hazard"],
        help="learn from purchases that have matured, or from all that is known so far (default: TRAINER__LABELS)",
    )
    train.add_argument("--shadow", action="store_true", help="if it isn't promoted, let it answer in shadow")
    train.add_argument(
        "--ladder",
        action=argparse.BooleanOptionalAction,
        help="let it climb from the shadow into service, rather than promote it (default: TRAINER__LADDER__ENABLED)",
    )
    enter = commands.add_parser("enter", help="put a registered version to all gates, and in shadow if it passes them")
    enter.add_argument("version")
    enter.add_argument("--as-of", type=_moment, help="judge on what has matured by then (default: the last purchase)")
    enter.add_argument("--again", action="store_true", help="also where it was withdrawn or rolled back before")
    advance = commands.add_parser("advance", help="look at the candidate, and take its next step if it has earned it")
    for one in (train, enter, advance):
        one.add_argument(
            "--poisoned-too",
            dest="without",
            action="store_const",
            const=(),
            help="count purchases of days, too, whose input was found broken (`watch` remembers them)",
        )
    withdraw = commands.add_parser("withdraw", help="take the candidate out of shadow or canary, for good")
    withdraw.add_argument("version", nargs="?", help="of two on the ladder, which one")
    withdraw.add_argument("--why", default="withdrawn by hand", help="for those who read it later")
    _add_engine(train, "what fits the families that can be spread over machines")
    commands.add_parser("families", help="the model families that can be named, and where each comes from")

    promote = commands.add_parser("promote", help="put a registered version in service, whatever the gate says")
    promote.add_argument("version")
    back = commands.add_parser("rollback", help="put the previous version back in service")
    back.add_argument("version", nargs="?", help="the one to take out; refused where it is out already")

    shadow = commands.add_parser("shadow", help="versions that answer beside each decision and never decide")
    shadow.add_argument("versions", nargs="*", metavar="VERSION", help="in place of those that do now; none: nobody")
    experiment = commands.add_parser("experiment", help="versions that decide for a share of the customers")
    experiment.add_argument("name", nargs="?", default="", help="of the experiment")
    experiment.add_argument(
        "--arm", action="append", default=[], type=_arm, metavar="NAME=SHARE:VERSION", help="such as canary=0.05:1a2b…"
    )
    experiment.add_argument("--salt", help="deals the customers out (default: a new one)")
    experiment.add_argument("--stop", action="store_true", help="the champion decides for everybody again")

    analyse = commands.add_parser("analyse-experiment", help="arms against the champion: figures, intervals, a page")
    analyse.add_argument("name", nargs="?", help="of one that has ended (default: the one that runs)")
    watch = commands.add_parser("watch", help="look after the models until told to stop")
    watch.add_argument("--every", type=_seconds, default=60.0, metavar="SECONDS", help="between two rounds (60)")
    guard = commands.add_parser("guard", help="stop the experiment that runs if it breaks a guardrail")
    guard.add_argument("--every", type=_seconds, metavar="SECONDS", help="go on looking, until told to stop")

    quality = commands.add_parser(
        "quality", help="whether the warehouse's rows are as expected, with pages that show it"
    )
    quality.add_argument("--since", type=_moment, help="of the purchase (default: the first)")
    quality.add_argument("--until", type=_moment, help="and before this (default: the last)")
    quality.add_argument(
        "--as-of", type=_moment, help="examples that have matured by then (default: the last purchase)"
    )

    evaluate = commands.add_parser("evaluate", help="the model in service on what matured since it was trained")
    evaluate.add_argument("--version", help="another version than the one in service")
    evaluate.add_argument("--as-of", type=_moment)
    evaluate.add_argument("--hidden", type=Path)

    vintages = commands.add_parser("vintages", help="who is known to have defaulted by age, of each week's purchases")
    vintages.add_argument("--as-of", type=_moment, help="what was known by then (default: the last purchase)")
    vintages.add_argument("--by", choices=["week", "month"], default="week", help="of the purchase (default week)")

    drift = commands.add_parser("drift", help="the training window's features against those of the last days")
    drift.add_argument("--version", help="the version whose training window to take (default: the one in service)")
    drift.add_argument("--days", type=float, default=7.0, help="length of the later window (default 7)")
    drift.add_argument("--as-of", type=_moment, help="end of the later window (default: the last purchase)")

    monitor = commands.add_parser("monitor", help="drift, performance and soundness of the model in service")
    monitor.add_argument("--every", type=_seconds, metavar="SECONDS", help="go on looking, until told to stop")
    monitor.add_argument("--as-of", type=_moment, help="the stream's time (default: the last purchase)")

    reprocess = commands.add_parser(
        "reprocess", help="features of past purchases, decided or loaded in bulk, in this code's feature set"
    )
    reprocess.add_argument("--since", type=_moment, help="of the purchase (default: the first)")
    reprocess.add_argument("--until", type=_moment, help="and before this (default: the last)")
    _add_engine(reprocess, "what works on the partitions")

    examples = commands.add_parser("examples", help="write the training set into a Parquet file")
    examples.add_argument("--to", required=True, metavar="FILE", help="a file here, or gs://bucket/name")
    examples.add_argument("--as-of", type=_moment, help="what has matured by then counts (default: the last purchase)")

    score = commands.add_parser("score", help="a model's probabilities for many rows, as the scorer would give them")
    rows = score.add_mutually_exclusive_group(required=True)
    rows.add_argument("--table", type=_table, metavar="DATASET.TABLE", help="of the warehouse, or a view of it")
    rows.add_argument("--input", type=Path, metavar="FILE.parquet")
    score.add_argument(
        "--output", required=True, type=_place, metavar="DATASET.TABLE|FILE.parquet", help="a file may be in gs://"
    )
    score.add_argument("--model", metavar="VERSION", help="another version than the one in service")
    score.add_argument("--replace", action="store_true", help="earlier scores at the output, once these are whole")
    score.add_argument("--threads", type=_count, help="that score (default: as many as cores)")

    backtest = commands.add_parser("backtest", help="what another policy or model would have decided, and earned")
    backtest.add_argument("--policy", type=Path, help="a policy file (default: the one of this code)")
    backtest.add_argument("--model", help="a registered version (default: the probabilities that were decided on)")
    backtest.add_argument("--since", type=_moment, help="of the purchase (default: the first)")
    backtest.add_argument("--until", type=_moment, help="and before this (default: the last)")
    backtest.add_argument(
        "--as-of", type=_moment, help="outcomes that have matured by then (default: the last purchase)"
    )

    replay = commands.add_parser("replay", help="make stored decisions again: are they the same bytes?")
    replay.add_argument("event_id", nargs="?", metavar="EVENT_ID")
    replay.add_argument("--all", action="store_true", help="every stored decision, in place of one event's")
    replay.add_argument("--since", type=_moment, help="decided then or later (default: the first)")
    replay.add_argument("--until", type=_moment, help="and before this (default: the last)")
    replay.add_argument("--limit", type=_count, help="with --all: so many of them, drawn by a hash of the event")
    replay.add_argument(
        "--policy", type=Path, action="append", default=[], help="a policy file that the registry doesn't keep"
    )

    parsed = parser.parse_args(arguments)
    if parsed.command == "replay":
        _check_replay(parser, parsed)
    if parsed.command == "train" and parsed.ladder and (parsed.shadow or not parsed.promote):
        parser.error("train: --ladder puts it in shadow and promotes it in time, so without --shadow and --no-promote")
    if parsed.command is None and not parsed.check:
        parser.error("name a command, or --check")
    if getattr(parsed, "scheduler", None) is not None and parsed.engine != "dask":
        parser.error(f"{parsed.command}: --scheduler goes with --engine dask")
    if parsed.command == "experiment":
        if parsed.stop == bool(parsed.name or parsed.arm):
            parser.error("experiment takes a name and arms, or --stop alone")
        try:
            parsed.begun = None if parsed.stop else _experiment(parsed)
        except ValueError as error:
            parser.error(f"experiment: {error}")
    return parsed


def _add_engine(command: argparse.ArgumentParser, about: str) -> None:
    command.add_argument("--engine", choices=["local", "dask"], default="local", help=about)
    command.add_argument("--workers", type=_count, default=1, help="processes of the engine (default 1)")
    command.add_argument("--scheduler", metavar="ADDRESS", help="of a Dask cluster, in place of one made for this")


def _check_replay(parser: argparse.ArgumentParser, parsed: argparse.Namespace) -> None:
    if parsed.all == (parsed.event_id is not None):
        parser.error("replay takes an event id, or --all")
    if not parsed.all and parsed.limit is not None:
        parser.error("replay: --limit goes with --all")


def _experiment(parsed: argparse.Namespace) -> Experiment:
    return Experiment(
        name=parsed.name,
        salt=parsed.salt or secrets.token_hex(8),
        arms=[Arm(name, share, version) for name, share, version in parsed.arm],
        started_at=canonical_time(datetime.now(UTC)),
        by=BY_HAND,
    )


def _arm(text: str) -> tuple[str, float, str]:
    try:
        name, rest = text.split("=")
        share, version = rest.split(":")
        return name, float(share), version
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not of the form name=share:version") from None


def _table(text: str) -> str:
    if not re.fullmatch(r"\w+\.\w+", text):
        raise argparse.ArgumentTypeError(f"{text!r} is not of the form dataset.table")
    return text


def _place(text: str) -> str:
    return text if text.endswith(".parquet") else _table(text)


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is no number above zero")
    return int(text)


def _seconds(text: str) -> float:
    seconds = float(text)
    if not 0 < seconds < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is no time to wait")
    return seconds


def _moment(text: str) -> int:
    """An ISO 8601 time with its zone, or a date (its midnight, UTC)."""
    try:
        if len(text) == len("2026-06-01"):
            text += "T00:00:00+00:00"
        return epoch_micros(canonical_time(datetime.fromisoformat(text)))
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is no time with a zone: {error}") from None
