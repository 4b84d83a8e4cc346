"""Who may change something here: whoever has an operator's key, which stays in his session."""

from __future__ import annotations

from dataclasses import dataclass

import streamlit as st

from services.console import access, wording
from services.console.scorer import ScorerAway, Standing

NO_KEY = "Enter an operator's key in the sidebar first."


@dataclass(frozen=True, slots=True)
class Operator:
    key: str | None
    name: str | None
    """As he wants to be named in verdicts; None: as the owner of the key."""
    standing: Standing | None
    trouble: str
    """Why nothing can be changed at all, verdicts included; empty where something can: what a key that isn't an
    administrator's is good for shows when it is used."""

    @property
    def administration_off(self) -> str:
        """Why models can't be switched and letters not replayed; empty where they can."""
        if self.trouble:
            return self.trouble
        return "" if self.standing is Standing.ADMINISTRATOR else "This needs a key with the scope `admin`."


def enter() -> None:
    """The fields in the sidebar, once on each page."""
    with st.sidebar:
        if access.settings().console.operator_key_file is None:
            st.text_input(
                "Operator's key", type="password", key="operator_key", autocomplete="off",
                help="From `python -m services.scorer new-key`, with the scopes review (verdicts), decide "
                "(calling off) and admin (models, letters). It stays in this session. Where the scorer has no key "
                "file, any text will do.",
            )  # fmt: skip
        st.text_input("Your name in verdicts", key="operator_name", max_chars=64, help="Empty: the owner of the key.")
        who = operator()
        if who.trouble:
            st.caption(f"Read-only. {who.trouble}")
        else:
            admin = who.standing is Standing.ADMINISTRATOR
            st.caption(
                "You may give verdicts, switch models and replay letters." if admin else "You may give verdicts."
            )


def operator(*, anew: bool = False) -> Operator:
    """Whoever looks at this page now. `anew`: whatever the scorer said of the key before."""
    name = (st.session_state.get("operator_name") or "").strip() or None
    try:
        key = access.settings().console.operator_key or st.session_state.get("operator_key") or None
    except OSError as error:
        return Operator(None, name, None, f"CONSOLE__OPERATOR_KEY_FILE can't be read: {error.strerror}.")
    if key is None:
        return Operator(None, name, None, NO_KEY)
    asked, standing = st.session_state.get("operator_checked", (None, None))
    if asked != key or anew:
        st.session_state.pop("operator_checked", None)
        try:
            standing = access.scorer().standing(key)
        except ScorerAway as away:
            return Operator(key, name, None, f"{wording.plain(str(away))} Nothing can be changed until it does.")
        st.session_state["operator_checked"] = (key, standing)
    return Operator(key, name, standing, "The scorer doesn't know this key." if standing is Standing.UNKNOWN else "")


def told(name: str) -> None:
    """Say once what the last action has left to be said under this name; the page was drawn anew since."""
    said = st.session_state.pop(name, None)
    if said:
        st.success(said, icon=":material/check_circle:")


def button(label: str, off: str, *, key: str, primary: bool = False) -> bool:
    """A button that says why it is off."""
    pressed = st.button(label, key=key, disabled=bool(off), type="primary" if primary else "secondary")
    if off:
        st.caption(f"{label}: off. {off}")
    return pressed and not off
