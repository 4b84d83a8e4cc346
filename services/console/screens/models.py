"""Models side by side, and the switch between them."""

from __future__ import annotations

import streamlit as st

from services.console import access, charts, operators, registered, wording
from services.console.queries import models
from services.console.queries.query import Row
from services.console.registered import Description, Parts, RegistryUnreadable
from services.console.views import models as view

DAYS = 180


def show() -> None:
    st.title("Models")
    with access.in_words():
        parts = registered.parts_of(access.registry())
        if not parts.listed:
            st.info(
                "No model is registered yet: `python -m services.trainer train` makes one, once outcomes have matured."
            )
            return
        known = _known(parts)
        performance = _measured(parts, known)
        _course(performance)
        _card(known)
        _switch(parts)


def _known(parts: Parts) -> dict[str, Description]:
    known: dict[str, Description] = {}
    for version in dict.fromkeys(part.version for part in parts.listed):
        try:
            known[version] = access.description(version)
        except RegistryUnreadable as unreadable:
            st.warning(str(unreadable), icon=":material/warning:")
    return known


def _measured(parts: Parts, known: dict[str, Description]) -> list[Row]:
    evaluations: list[Row] = []
    performance: list[Row] = []
    with access.in_words():  # without the warehouse, what the registry says is still worth seeing
        evaluations = access.steady(models.evaluations(access.days_back(DAYS)))
        performance = access.steady(models.performance(access.days_back(DAYS)))
    columns = view.side_by_side(parts.listed, known, evaluations, performance)
    st.dataframe(
        view.as_table(columns),
        hide_index=True,
        height="content",
        alt="Versions side by side: part, family, what each learnt from, and what was measured of it.",
    )
    st.caption("AUC: higher is better. Brier and ECE: lower is better. All of the test part, unless it says otherwise.")
    return performance


def _course(performance: list[Row]) -> None:
    lines: dict[str, list[tuple[object, float]]] = {}
    for row in reversed(performance):
        lines.setdefault(row["model_version"], []).append((row["window_to"], row["auc"]))
    st.subheader("Live performance")
    if not lines:
        st.caption("Nothing has been measured on matured outcomes yet.")
        return
    figure, said = charts.performance(lines)  # type: ignore[arg-type]
    st.plotly_chart(figure, config=charts.CONFIG, key="performance", alt=said)
    st.caption("Of what each decided in four weeks, on the purchases of these weeks that have matured by now.")


def _card(known: dict[str, Description]) -> None:
    if not known:
        return
    st.subheader("Model card")
    version = st.selectbox("Version", list(known), key="card_version")
    card = known[version].card
    st.markdown(wording.plain(str(card.get("intended_use", ""))))
    for limit in card.get("limits", ()):
        st.markdown(f"- {wording.plain(str(limit))}")
    with st.expander("The whole card"):
        st.json(card, expanded=1)


def _switch(parts: Parts) -> None:
    st.subheader("Switch")
    who = operators.operator()
    off = who.administration_off
    current = None if parts.champion is None else parts.champion.version
    if parts.champion is not None:
        st.caption(
            f"In service: {current}, since {parts.champion.promoted_at[:10]}, by {wording.plain(parts.champion.by)}."
        )
    choices = parts.promotable()
    if choices:
        version = st.selectbox("Version to put in service", choices, key="promote_version")
        if operators.button("Put it in service …", off, key="promote"):
            _confirm_promotion(version, current)
    if parts.previous is not None and operators.button("Roll back …", off, key="rollback"):
        _confirm_rollback(parts.previous.version, current)
    operators.told("switch_told")


@st.dialog("Put a model in service")
def _confirm_promotion(version: str, current: str | None) -> None:
    st.markdown(f"**{version}** will decide from now on, in place of **{current or 'no model'}**.")
    with access.in_words():
        key = operators.operator().key
        if st.button(f"Put {version} in service", key="promote_sure", type="primary") and key is not None:
            access.scorer().promote(version, instead_of=current, key=key)
            st.session_state["switch_told"] = f"{version} is in service."
            st.rerun()


@st.dialog("Roll back")
def _confirm_rollback(previous: str, current: str | None) -> None:
    st.markdown(f"**{previous}** will decide again, in place of **{current or 'no model'}**.")
    with access.in_words():
        key = operators.operator().key
        if st.button(f"Roll back to {previous}", key="rollback_sure", type="primary") and key is not None:
            # A rollback names what is to go, and not what is to come back: another one may have taken that place since.
            before = registered.parts_of(access.registry()).previous
            if before is None or before.version != previous:
                st.error(f"{previous} is no longer the one before: nothing was changed.", icon=":material/error:")
                return
            now = str(access.scorer().rollback(instead_of=current, key=key)["current"]["version"])
            st.session_state["switch_told"] = f"{wording.plain(now)} is in service again."
            st.rerun()
