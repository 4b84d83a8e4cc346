"""Refused records, and sending them again."""

from __future__ import annotations

from datetime import datetime

import streamlit as st

from services.console import access, charts, commands, operators, wording
from services.console.queries import letters
from services.console.queries.query import Row
from services.console.views import letters as view

DAYS = 30
LISTED = 25


def show() -> None:
    st.title("Dead letters")
    with access.in_words():
        since = access.days_back(DAYS)
        counted = access.recent(letters.by_reason_and_day(since))
        if not counted:
            st.info(f"No record was refused within {DAYS} days.")
            return
        totals = view.totals(counted)
        figure, said = charts.by_day(view.by_day(counted))
        st.plotly_chart(figure, config=charts.CONFIG, key="letters", alt=said)
        st.caption(said)
        reason = st.selectbox(
            "Reason", list(totals), format_func=lambda name: f"{name} ({totals.get(name, 0):,})", key="letters_reason"
        )
        latest = access.recent(letters.latest(since, reason, LISTED))
        if not latest:
            st.caption("All of these were loaded in bulk with another system's history: they lie on no topic here.")
            return
        _one(latest)
        _replay(reason, totals[reason], since)


def _one(latest: list[Row]) -> None:
    st.subheader("One letter")
    labels = {
        (row["kafka_partition"], row["kafka_offset"]): f"{wording.moment(row['kafka_timestamp'])} · {row['service']} · "
        f"{row['source_topic']} {row['source_partition']}/{row['source_offset']}"
        for row in latest
    }
    place = st.selectbox("Letter", list(labels), format_func=lambda one: labels.get(one, str(one)), key="letters_pick")
    row = next(row for row in latest if (row["kafka_partition"], row["kafka_offset"]) == place)
    st.markdown(
        f"Refused by {row['service']}, {wording.moment(row['received_at'])} UTC: {row['value_bytes'] or 0:,} bytes of "
        f"{wording.plain(str(row['source_topic']))}."
    )
    if not st.toggle("Show what is in it: it may name people", key=f"letter_{place[0]}_{place[1]}"):
        return
    found = access.recent(letters.one(place[0], place[1], access.days_back(DAYS)))
    if not found or (found[0]["value_base64"] is None and found[0]["detail"] is None):
        st.caption("Nothing is kept of it: it had no value, or its customer was erased.")
        return
    st.markdown(wording.plain(str(found[0]["detail"] or "")))
    st.code(view.decoded(found[0]["value_base64"], found[0]["value_bytes"]), language=None, wrap_lines=True, height=300)


def _replay(reason: str, count: int, since: datetime) -> None:
    st.subheader("Send again")
    off = commands.missing("ingestor") or operators.operator().administration_off
    limit = int(st.number_input("At most so many", 1, 10_000, min(count, 100), key="letters_limit"))
    if operators.button(f"Send letters of “{reason}” again …", off, key="letters_replay"):
        with st.spinner("Asking the ingestor what it would send"):
            would = commands.replay_letters(reason, since, limit, dry_run=True)
        _confirm(reason, since, limit, would)
    operators.told("letters_told")


@st.dialog("Send refused records again")
def _confirm(reason: str, since: datetime, limit: int, would: str) -> None:
    with access.in_words():
        st.markdown(
            f"The ingestor says: **{wording.plain(would)}**. The oldest of the last {DAYS} days come "
            "first; each is sent once, whoever asks again."
        )
        if st.button(f"Send at most {limit:,} letters of “{reason}” again", key="letters_sure", type="primary"):
            # The ingestor asks nobody who sent for it: what this session knew of the key may have changed since.
            off = operators.operator(anew=True).administration_off
            if off:
                st.error(off)
                return
            with st.spinner("Sending"):
                sent = commands.replay_letters(reason, since, limit, dry_run=False)
            st.session_state["letters_told"] = wording.plain(sent)
            st.rerun()
