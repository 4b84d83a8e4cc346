"""From one screen to another, without losing the session."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NoReturn

import streamlit as st

DECISION = "decision"
_PAGES = "pages"


def remember(pages: Mapping[str, Any]) -> None:
    st.session_state[_PAGES] = dict(pages)


def open_decision(event_id: str) -> NoReturn:
    st.switch_page(st.session_state[_PAGES][DECISION], query_params={"event": event_id})
