"""What waits for a person, and the person's verdict."""

from __future__ import annotations

import streamlit as st

from services.console import access, operators, wording
from services.console.queries import decisions, review
from services.console.scorer import ScorerRefused
from services.console.screens import navigation
from services.console.views import review as view
from shared.contracts.events import UpdateKind
from shared.contracts.rejections import RejectionReason
from shared.warehouse.views import DECIDED_AFTER_THE_FACT_HOURS

DAYS = 30
"""A purchase that has waited for longer has been bought elsewhere."""
SHOWN = 50
GIVEN = 20
NOT_LISTED = (
    f"What was decided {DECIDED_AFTER_THE_FACT_HOURS} hours after the purchase or later, as in a replayed history, "
    "isn't listed: there is nothing to decide any more."
)
GIVEN_ALREADY = "Somebody has given a verdict on this purchase already: nothing was recorded."
CALLED_OFF = "This purchase was called off: there is nothing to decide any more, and nothing was recorded."
SENT_BEFORE = (
    "A verdict on this purchase was sent before, by somebody else or with another note: nothing was recorded now. If "
    "it does not appear below within a minute it may not have arrived; then the very same one, note included, can be "
    "sent again."
)
_SENT, _TOLD = "verdicts_sent", "verdict_told"


def show() -> None:
    st.title("Review queue")
    with access.in_words():
        since = access.days_back(DAYS)
        sent: set[str] = st.session_state.setdefault(_SENT, set())
        told: list[str] = st.session_state.setdefault(_TOLD, [])
        # Those just sent may still be among the rows: as many more are asked for.
        rows = access.recent(review.waiting(since, SHOWN + len(sent)))
        waiting = view.queue(rows, access.purchases_of(rows, access.steady), sent)[:SHOWN]
        if not waiting:
            st.info("Nothing waits for a verdict. Purchases between the policy's two thresholds appear here.")
        else:
            [count] = access.recent(review.how_many_wait(since))
            st.markdown(
                f"**{count['waiting']:,}** wait, of the last {DAYS} days; the one that has waited longest comes first."
            )
            _judge(waiting, sent, told)
        st.caption(NOT_LISTED)
        _given(told)


def _judge(waiting: list[view.Waiting], sent: set[str], told: list[str]) -> None:
    by_event = {one.event_id: one for one in waiting}
    chosen = st.selectbox(
        "Purchase",
        list(by_event),
        format_func=lambda event: by_event[event].label if event in by_event else event,
        key="review_pick",
    )
    one = by_event[chosen]
    with st.container(border=True):
        with st.container(horizontal=True, gap="large"):
            st.metric("Amount", wording.money(one.amount, one.currency), width="content")
            st.metric("Probability of default", wording.share(one.probability), width="content")
            st.metric("Expected loss", wording.money(one.expected_loss, one.currency), width="content")
        st.markdown("\n".join(f"- {wording.plain(text)}" for text in one.reasons) or "No reason was given.")
        if one.degraded:
            st.caption(f"A fallback decided, since {one.degraded}.")
        note = st.text_input("Note (optional)", key=f"note_{one.event_id}", max_chars=1000)
        who = operators.operator()
        with st.container(horizontal=True):
            # A press belongs to the purchase that was shown: where another has taken its place meanwhile, it is lost.
            of = one.event_id
            approve = st.button("Approve", key=f"verdict_approve_{of}", disabled=bool(who.trouble), type="primary")
            decline = st.button("Decline", key=f"verdict_decline_{of}", disabled=bool(who.trouble))
            look = st.button("Look at the decision", key="review_open")
        if who.trouble:
            st.caption(f"Verdicts are off. {who.trouble}")
        if look:
            navigation.open_decision(one.event_id)
        if (approve or decline) and who.key is not None:
            _give(one.event_id, "approve" if approve else "decline", note.strip() or None, who, sent, told)


def _give(
    event_id: str, verdict: str, note: str | None, who: operators.Operator, sent: set[str], told: list[str]
) -> None:
    """Not a second time, whoever gave the first, and not on a purchase that is none any more: the warehouse is asked
    once more, and the scorer takes the first."""
    if who.key is None:
        return
    said = access.warehouse().rows(decisions.said_of(event_id, access.days_back(DAYS)))
    if any(one["kind"] == UpdateKind.CANCEL for one in said):
        st.warning(CALLED_OFF, icon=":material/warning:")
        return
    if event_id in sent or said:
        st.warning(GIVEN_ALREADY, icon=":material/warning:")
        return
    try:
        taken = access.scorer().verdict(event_id, verdict, actor=who.name, note=note, key=who.key)
    except ScorerRefused as refused:
        if refused.reason != RejectionReason.CONFLICT:
            raise
        st.warning(SENT_BEFORE, icon=":material/warning:")
        return
    # Into what the session holds already: a second press that waits ends this run at the next touch of the session.
    sent.add(event_id)
    told[:] = [wording.verdict_taken(taken)]
    st.rerun()


def _given(told: list[str]) -> None:
    """`told`: of the last verdict. It stays until the next one: the notice that the customer is owed stands in it."""
    for said in told:
        st.success(said, icon=":material/check_circle:")
    st.subheader("Verdicts given")
    given = access.recent(review.given(access.days_back(DAYS), GIVEN))
    if not given:
        st.caption(f"None within {DAYS} days.")
        return
    st.table(
        [
            {
                "Given (UTC)": wording.moment(row["updated_at"])[:16],
                "Verdict": wording.VERDICTS.get(row["verdict"], row["verdict"]),
                "By": wording.plain(row["actor"] or ""),
                "Note": wording.plain(row["note"] or ""),
            }
            for row in given
        ],
        hide_index=True,
        border="horizontal",
        alt="The latest verdicts: when, which, by whom, with their notes.",
    )
