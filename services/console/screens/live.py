"""The stream as it runs."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

import streamlit as st

from services.console import access, charts, wording
from services.console.queries import decisions
from services.console.queries.query import Row
from services.console.screens import navigation
from services.console.views import live

WATCHED_S = 900
"""After so long without a click nobody watches any more, and each look of a page that was left open is billed."""
LATEST = 100
"""Decisions that latency is told of."""
LISTED = 10
_PAUSED, _CLICKED, _PICK = "live_paused", "live_clicked", "live_pick"


def show() -> None:
    st.title("Live")
    labels = [span.label for span in live.SPANS]
    chosen = st.segmented_control("Decided within the last", labels, default=labels[0], key="live_span") or labels[0]
    span = live.SPANS[labels.index(chosen)]
    # Whatever is clicked draws all of the page, and it goes on.
    paused = st.session_state.pop(_PAUSED, False)
    st.session_state[_CLICKED] = time.monotonic()
    st.fragment(_stream, run_every=None if paused else span.refresh_s)(span)
    if paused:
        st.caption(f"Not drawn anew any more: nothing was clicked for {WATCHED_S // 60} minutes.")
        st.button("Go on", key="live_go_on")
    _pick(span)


def _stream(span: live.Span) -> None:
    """Drawn anew by itself; only what has changed moves."""
    if time.monotonic() - st.session_state[_CLICKED] > WATCHED_S:
        st.session_state[_PAUSED] = True
        st.rerun()
    ask = access.once_in(span.refresh_s)
    with access.in_words():
        since, until = live.window(datetime.now(UTC), span)
        rows = ask(decisions.mix(since, until, span.step_s))
        if not rows:
            _nothing(span.label)
            return
        found = live.mix(rows, since, until, span.step_s)
        latest = ask(decisions.latest(since, LATEST))
        purchases = access.purchases_of(latest, ask)
        latency = live.latency(latest, purchases)
        with st.container(horizontal=True, gap="large"):
            st.metric("Decisions", f"{found.decisions:,}", width="content")
            st.metric("A minute", f"{found.per_minute:,.1f}", width="content")
            st.metric("Approved", wording.share(found.share("approve")), width="content")
            st.metric("By a fallback", wording.share(found.fallback_share), width="content")
            if latency is not None:
                st.metric(
                    "Event to decision, p95", f"{latency.p95:,.0f} ms", width="content",
                    help=f"Of the last {latency.of:,} decisions; half of them took {latency.p50:,.0f} ms.",
                )  # fmt: skip
        figure, said = charts.mix(found)
        st.plotly_chart(figure, config=charts.CONFIG, key="mix", alt=said)
        age = (datetime.now(UTC) - latest[0]["prediction_timestamp"]).total_seconds()
        st.caption(f"{said} The newest in the warehouse was made {wording.ago(age)}.")
        _table(latest[:LISTED], purchases)


def _nothing(label: str) -> None:
    [row] = access.steady(decisions.newest(access.days_back(access.FAR_BACK_DAYS)))
    if row["moment"] is None:
        st.info("No decision is in the warehouse yet. Once the ingestor and the sink run, decisions appear here.")
        return
    age = (datetime.now(UTC) - row["moment"]) / timedelta(seconds=1)
    st.info(
        f"No decision within the last {label}; the newest was made {wording.ago(age)} "
        f"({wording.moment(row['moment'])} UTC). Choose a longer time, or look at System health."
    )


def _table(latest: list[Row], purchases: dict[str, Row]) -> None:
    st.subheader("Last decisions")
    st.table(
        [
            {
                "Decided (UTC)": f"{row['prediction_timestamp']:%H:%M:%S}",
                "Decision": wording.VERDICTS[row["decision"]],
                "Amount": wording.money(
                    purchases.get(row["event_id"], {}).get("amount"), purchases.get(row["event_id"], {}).get("currency")
                ),
                "PD": wording.share(row["probability_of_default"]),
            }
            for row in latest
        ],
        hide_index=True,
        border="horizontal",
        alt="The last decisions, the newest first; PD is the probability of default.",
    )


def _pick(span: live.Span) -> None:
    """Not drawn anew with the stream: a list that moves can't be chosen from."""
    with access.in_words():
        since, _ = live.window(datetime.now(UTC), span)
        latest = access.once_in(span.refresh_s)(decisions.latest(since, LATEST))
        if not latest:
            return
        labels = {
            row["event_id"]: f"{row['prediction_timestamp']:%H:%M:%S} · {wording.VERDICTS[row['decision']]} · "
            f"{row['event_id']}"
            for row in latest
        }
        # Whatever was chosen stays a choice when newer ones have pushed it out: else the newest would take its place.
        kept = st.session_state.get(_PICK)
        if kept is not None and kept not in labels:
            labels[kept] = f"chosen before · {kept}"
        with st.container(horizontal=True, vertical_alignment="bottom"):
            chosen = st.selectbox(
                "Open one", list(labels), format_func=lambda event: labels.get(event, event), key=_PICK
            )
            if st.button("Open", key="live_open"):
                navigation.open_decision(chosen)
