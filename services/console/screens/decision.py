"""One decision, with all that can be told of it."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import streamlit as st

from services.console import access, charts, commands, operators, wording
from services.console.queries import decisions
from services.console.queries.query import Row
from services.console.scorer import ScorerAway, ScorerRefused
from services.console.views import decision


def show() -> None:
    st.title("A decision")
    asked = st.query_params.get("event")
    # What the address says counts when it is new: what is typed afterwards goes before it.
    if asked and (asked != st.session_state.get("decision_shown") or "decision_event" not in st.session_state):
        st.session_state["decision_event"] = asked
    event_id = st.text_input("Event id", key="decision_event", max_chars=128).strip()
    if not event_id:
        st.info("Enter the id of an event, or open a decision from Live or from the review queue.")
        return
    st.query_params["event"] = st.session_state["decision_shown"] = event_id
    with access.in_words():
        row = _row(event_id)
        if row is None:
            st.info(
                "The warehouse has no decision under this id. One that was made just now is there a few seconds later."
            )
            return
        _told(row)


def _row(event_id: str) -> Row | None:
    """Raises WarehouseAway."""
    try:
        day = access.decided_on(event_id)
    except (ScorerAway, ScorerRefused):
        day = None
    if day is None:
        decided = access.lately(lambda since: decisions.decided(event_id, since), access.recent)
        if decided is None:
            return None
        day = access.midnight(decided["moment"])
    # One day is read instead of a year. What isn't there isn't in the warehouse yet: no other day has it.
    found = access.recent(decisions.one(event_id, day, day + timedelta(days=1)))
    return found[0] if found else None


def _told(row: Row) -> None:
    """Each part for itself: what one of them misses is told in its place."""
    purchase: Row = {}
    with access.in_words():
        purchase = access.purchases_of([row], access.steady).get(row["event_id"], {})
    _verdict(row, purchase)
    _explained(row, _explanation(row["event_id"]))
    for part in (_customer, _said, _evidence):
        with access.in_words():
            part(row)
    _cancel(row, purchase)


def _explanation(event_id: str) -> dict[str, Any] | None:
    try:
        answer = access.explanation(event_id)
    except (ScorerAway, ScorerRefused) as trouble:
        st.warning(f"{wording.plain(str(trouble))} Contributions are not shown.", icon=":material/warning:")
        return None
    if answer is None:
        st.caption("The scorer no longer keeps this decision, so that contributions can't be told.")
    return answer


def _verdict(row: Row, purchase: Row) -> None:
    currency = purchase.get("currency")
    with st.container(horizontal=True, gap="large"):
        st.metric("Decision", wording.VERDICTS[row["decision"]], width="content")
        st.metric("Probability of default", wording.share(row["probability_of_default"]), width="content")
        st.metric("Amount", wording.money(purchase.get("amount"), currency), width="content")
        st.metric("Expected loss", wording.money(row["expected_loss"], currency), width="content")
    if row["degraded"] is not None:
        st.warning(f"A fallback decided, since {wording.degraded(row['degraded'])}.", icon=":material/warning:")
    reasons = wording.reasons(row["reasons"])
    st.subheader("Principal reasons")
    st.markdown("\n".join(f"- {wording.plain(text)}" for text in reasons) or "None: nothing spoke against it.")
    st.caption(
        f"Model {row['model_version']} · policy {row['policy_version']} · arm {row['variant']} · decided "
        f"{wording.moment(row['prediction_timestamp'])} UTC, asked over {row['channel']}"
    )


def _explained(row: Row, answer: dict[str, Any] | None) -> None:
    st.subheader("What weighed in it")
    explained = None if answer is None else decision.explained(answer)
    if explained is None:
        st.caption("No model was asked, or none can say: only what was known of the purchase is listed.")
    else:
        figure, said = charts.contributions(explained)
        st.plotly_chart(figure, config=charts.CONFIG, key="contributions", alt=said)
        st.caption(
            f"{said} In log-odds: from the base value {explained.base:+.2f}, these add up to "
            f"{explained.log_odds:+.2f}, a raw probability of {explained.raw_probability:.1%}; the calibration makes "
            f"{wording.share(row['probability_of_default'])} of it."
        )
    if not row["features"]:
        st.caption("The customer was erased: features are no longer kept.")
        return
    with st.expander("Every feature with its value and contribution"):
        st.dataframe(
            [
                {
                    "Feature": wording.feature(line.name),
                    "Value": wording.number(line.value),
                    "Contribution": "–" if line.contribution is None else f"{line.contribution:+.3f}",
                    "Unit": line.unit,
                    "Why": line.why,
                }
                for line in decision.features(row["features"], answer)
            ],
            hide_index=True,
            alt="Every feature with its value and its contribution in log-odds.",
        )


def _customer(row: Row) -> None:
    st.subheader("The customer's purchases")
    if row["customer_id"] is None:
        st.caption("The customer was erased.")
        return
    since = access.days_back(access.FAR_BACK_DAYS)
    purchases = access.steady(decisions.purchases_of(row["customer_id"], since))
    if not purchases:
        st.caption("None is in the warehouse yet.")
        return
    decided = access.steady(decisions.of_events([one["event_id"] for one in purchases], since))
    outcomes = access.steady(decisions.outcomes_of(row["customer_id"], since))
    found = decision.history(purchases, decided, outcomes)
    defaults = sum(one.outcome == "defaulted" for one in found)
    st.caption(
        f"{wording.plain(row['customer_id'])}: the last {len(found)} purchases, {defaults} of them defaulted. Outcomes "
        "are what is known today, not what was known at the decision."
    )
    st.table(
        [
            {
                "Purchase (UTC)": wording.moment(one.occurred_at)[:16],
                "Amount": wording.money(one.amount, one.currency),
                "Decision": wording.VERDICTS.get(one.decision or "", wording.NOTHING),
                "Outcome": one.outcome or "not known",
            }
            for one in found
        ],
        hide_index=True,
        border="horizontal",
        alt="The customer's purchases, the latest first, with decisions and outcomes.",
    )


def _said(row: Row) -> None:
    said = access.recent(decisions.said_of(row["event_id"], access.days_back(access.FAR_BACK_DAYS)))
    for one in said:
        what = (
            f"was called off by {one['actor']}"
            if one["kind"] == "cancel"
            else f"verdict {one['verdict']} by {one['actor']}"
        )
        note = f": {one['note']}" if one["note"] else ""
        st.markdown(f"- {wording.moment(one['updated_at'])} UTC: {wording.plain(what + note)}")


def _evidence(row: Row) -> None:
    st.subheader("Evidence")
    st.markdown(
        f"Record {row['kafka_offset']} of {row['kafka_topic']}, partition {row['kafka_partition']}. "
        "Its link in the hash chain covers it and the record before it."
    )
    st.code(f"record  {row['record_sha256']}\nlink    {row['chain_sha256']}", language=None, wrap_lines=True)
    off = commands.missing("trainer") or ""
    if operators.button("Replay", off, key="replay"):
        with st.spinner("Deciding it again, with the model and the policy of then"):
            _replay(row)


def _replay(row: Row) -> None:
    answer = commands.replay_decision(row["event_id"], row["prediction_timestamp"])
    if answer["result"] == "identical":
        st.success("Decided again from its stored features: the same bytes.", icon=":material/check_circle:")
    elif answer["result"] == "different":
        fields = ", ".join(answer["differences"])
        st.error(
            f"Decided again, it differs from the stored record in: {wording.plain(fields)}.", icon=":material/error:"
        )
    else:
        st.warning(f"It can't be made again: {wording.plain(str(answer['hindrance']))}.", icon=":material/warning:")


def _cancel(row: Row, purchase: Row) -> None:
    who, event_id = operators.operator(), row["event_id"]
    with st.expander("Call this purchase off"):
        # Keys of its own: a note that was begun for one purchase must not go with another.
        note = st.text_input("Why (optional)", key=f"cancel_note_{event_id}", max_chars=1000).strip()
        if operators.button("Call it off …", who.trouble, key=f"cancel_{event_id}"):
            _confirm_cancel(event_id, wording.money(purchase.get("amount"), purchase.get("currency")), note)
    operators.told("cancel_told")


@st.dialog("Call a purchase off")
def _confirm_cancel(event_id: str, amount: str, note: str) -> None:
    of = "an unknown amount" if amount == wording.NOTHING else wording.plain(amount)
    st.markdown(f"**{wording.plain(event_id)}**, of **{of}**, counts no more against its customer's limit from now on.")
    with access.in_words():
        key = operators.operator().key
        if st.button("Call it off", key="cancel_sure", type="primary") and key is not None:
            access.scorer().cancel(event_id, note=note or None, key=key)
            st.session_state["cancel_told"] = "Recorded. It shows here once the sink has written it."
            st.rerun()
