"""The parts that the screens ask, one of each for the process; what was answered is kept for a while."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import streamlit as st

from services.console import registered, wording
from services.console.commands import CommandFailed
from services.console.queries import decisions
from services.console.queries.query import Query, Row
from services.console.registered import Description, RegistryUnreadable
from services.console.scorer import Scorer, ScorerAway, ScorerRefused
from services.console.settings import ConsoleSettings
from services.console.warehouse import Warehouse, WarehouseAway
from shared.model_artifact.opening import open_registry
from shared.model_artifact.registry import ModelRegistry

RECENT_S, STEADY_S, CASES_S = 4, 60, 900
"""How long an answer is kept: about what happens now, about what has happened, and about what doesn't change any more.
All who look share it, so that a hundred open pages ask no more than one."""

LONG_KEPT = 16
"""Answers about what doesn't change any more: What-if asks up to eight questions, and others after midnight. Where
fewer are kept than it asks, each look pushes out what the next one needs, and a slider that moves reads it all anew."""

LONGEST_TURN_S = 300
"""A page that is drawn anew by itself asks in turns of at most so many seconds."""

FAR_BACK_DAYS = 400
"""No question goes back further: a year, and the month in which it is looked at."""

LATELY_DAYS = 8
"""Most of what is asked about is of the last days: only where nothing is found there is all the rest looked through."""

TROUBLE = (WarehouseAway, ScorerAway, ScorerRefused, RegistryUnreadable, CommandFailed)


@st.cache_resource(show_spinner=False)
def settings() -> ConsoleSettings:
    return ConsoleSettings()


@st.cache_resource(show_spinner=False)
def warehouse() -> Warehouse:
    """Raises WarehouseAway."""
    return Warehouse(settings().bigquery)


@st.cache_resource(show_spinner=False)
def scorer() -> Scorer:
    section = settings().console
    key = None if section.scorer_key is None else section.scorer_key.get_secret_value()
    return Scorer(section.scorer_url, key)


@st.cache_resource(show_spinner=False)
def registry() -> ModelRegistry:
    return open_registry(settings().model_registry)


@st.cache_data(ttl=RECENT_S, max_entries=200, show_spinner=False, hash_funcs={Query: repr})
def recent(query: Query) -> list[Row]:
    """Raises WarehouseAway."""
    return list(warehouse().rows(query))


@st.cache_data(ttl=STEADY_S, max_entries=200, show_spinner=False, hash_funcs={Query: repr})
def steady(query: Query) -> list[Row]:
    """Raises WarehouseAway."""
    return list(warehouse().rows(query))


@st.cache_data(ttl=CASES_S, max_entries=LONG_KEPT, show_spinner=False, hash_funcs={Query: repr})
def long(query: Query) -> list[Row]:
    """Raises WarehouseAway."""
    return list(warehouse().rows(query))


def once_in(seconds: int) -> Callable[[Query], list[Row]]:
    """Asks each question once in so many seconds, whoever looks, for pages that are drawn anew by themselves. In turns
    of the clock rather than by age: an answer of just now would else be shown for nearly two of them. Raises
    WarehouseAway."""
    turn = int(time.time()) // seconds
    return lambda query: _in_turn(query, seconds, turn)


@st.cache_data(ttl=LONGEST_TURN_S, max_entries=200, show_spinner=False, hash_funcs={Query: repr})
def _in_turn(query: Query, seconds: int, turn: int) -> list[Row]:
    return list(warehouse().rows(query))


@st.cache_data(ttl=STEADY_S, max_entries=100, show_spinner=False)
def decided_on(event_id: str) -> datetime | None:
    """The midnight (UTC) before an event's decision, as the scorer knows it; None where it doesn't. Raises ScorerAway,
    ScorerRefused."""
    found = scorer().decision(event_id)
    try:
        moment = None if found is None else datetime.fromisoformat(found["decided_at"])
    except (KeyError, TypeError, ValueError):  # of a scorer of another release
        return None
    return None if moment is None else midnight(moment)


@st.cache_data(ttl=STEADY_S, max_entries=100, show_spinner=False)
def explanation(event_id: str) -> dict[str, Any] | None:
    """Raises ScorerAway, ScorerRefused."""
    return scorer().explanation(event_id)


@st.cache_data(max_entries=50, show_spinner=False)
def description(version: str) -> Description:
    """Raises RegistryUnreadable."""
    return registered.describe(registry(), version)


def purchases_of(rows: Sequence[Row], ask: Callable[[Query], list[Row]]) -> dict[str, Row]:
    """The purchases behind these decisions, by event: each lies in the partition of its decision, unlike another
    customer's under the same event id. Raises WarehouseAway."""
    if not rows:
        return {}
    times = [row["occurred_at"] for row in rows]
    question = decisions.purchases([row["event_id"] for row in rows], min(times), max(times))
    found = {(row["event_id"], row["home"]): row for row in ask(question)}
    places = [(row["event_id"], row["kafka_partition"]) for row in rows]
    return {place[0]: found[place] for place in places if place in found}


def days_back(days: int) -> datetime:
    """A midnight (UTC), so that the same question is asked all day."""
    return midnight(datetime.now(UTC)) - timedelta(days=days)


def midnight(moment: datetime) -> datetime:
    """Of its day, UTC."""
    moment = moment.astimezone(UTC)
    return moment.replace(hour=0, minute=0, second=0, microsecond=0)


def lately(question: Callable[[datetime], Query], ask: Callable[[Query], list[Row]]) -> Row | None:
    """The first row that says something, of the last days or else of all that are looked at. Raises WarehouseAway."""
    for days in (LATELY_DAYS, FAR_BACK_DAYS):
        rows = ask(question(days_back(days)))
        if rows and any(value is not None for value in rows[0].values()):
            return rows[0]
    return None


@contextmanager
def in_words() -> Iterator[None]:
    """Trouble is told on the page, and the rest of the page goes on."""
    try:
        yield
    except TROUBLE as trouble:
        # The warehouse's words are our own; in the others' are those of servers and programs.
        said = str(trouble) if isinstance(trouble, WarehouseAway) else wording.plain(str(trouble))
        st.error(said, icon=":material/error:")
