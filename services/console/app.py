"""What Streamlit runs for each page: the frame, and the screen that was asked for."""

from __future__ import annotations

from pathlib import Path

import streamlit as st

from services.console import operators
from services.console.screens import decision, drift, health, letters, live, models, navigation, review, what_if

ICON = Path(__file__).with_name("icon.svg")

SCREENS = {
    "live": (live.show, "Live", ":material/monitoring:"),
    navigation.DECISION: (decision.show, "A decision", ":material/search:"),
    "review": (review.show, "Review queue", ":material/fact_check:"),
    "models": (models.show, "Models", ":material/compare_arrows:"),
    "drift": (drift.show, "Drift", ":material/trending_up:"),
    "what-if": (what_if.show, "What-if", ":material/tune:"),
    "dead-letters": (letters.show, "Dead letters", ":material/unsubscribe:"),
    "health": (health.show, "System health", ":material/favorite:"),
}


def main() -> None:
    # A file of ours: Streamlit would fetch any other icon from the internet, those of the pages too.
    st.set_page_config(page_icon=str(ICON), layout="wide")
    pages = {
        path: st.Page(show, title=title, icon=icon, url_path=path, default=path == "live")
        for path, (show, title, icon) in SCREENS.items()
    }
    navigation.remember(pages)
    chosen = st.navigation(list(pages.values()))
    st.set_page_config(page_title=f"{chosen.title} · Flit Risk")
    operators.enter()
    chosen.run()


main()
