"""Whether everything runs, and how far behind it is."""

from __future__ import annotations

from datetime import UTC, datetime

import streamlit as st

from services.console import access, probing, wording
from services.console.queries import decisions
from services.console.views import audit

REFRESH_S = 10
FRESHNESS_S = 30
"""Between two questions about the warehouse, which are billed; the services are asked each time."""


def show() -> None:
    st.title("System health")
    _looked_at()


@st.fragment(run_every=REFRESH_S)
def _looked_at() -> None:
    _services()
    with access.in_words():
        _freshness()
    _ledger()


def _services() -> None:
    found = probing.probe(access.settings().console.health.addresses)
    if not found:
        st.info("No service is asked: CONSOLE__HEALTH__… says where each of them is.")
        return
    trouble = [health for health in found if health.state != "ready"]
    if trouble:
        st.warning(f"Not ready: {', '.join(health.service for health in trouble)}.", icon=":material/warning:")
    else:
        st.success("Every service that is asked is ready.", icon=":material/check_circle:")
    st.table(
        [
            {
                "Service": health.service,
                "State": _state(health),
                "Records that wait": wording.NOTHING if health.lag is None else f"{health.lag:,}",
            }
            for health in found
        ],
        hide_index=True,
        border="horizontal",
        alt="Each service, whether it is ready, and how many records wait for it.",
    )


def _state(health: probing.Health) -> str:
    of = f", {health.ready} of {health.processes} ready" if health.processes > 1 else ""
    return f"{health.state}{of}: {wording.plain(health.why)}" if health.why else f"{health.state}{of}"


def _freshness() -> None:
    row = access.lately(decisions.newest, access.once_in(FRESHNESS_S))
    st.subheader("Warehouse")
    if row is None:
        st.caption("It answers, and holds no decision yet.")
        return
    age = (datetime.now(UTC) - row["moment"]).total_seconds()
    st.markdown(f"Its newest decision was made {wording.ago(age)}, at {wording.moment(row['moment'])} UTC.")


def _ledger() -> None:
    st.subheader("Last audit")
    try:
        report = access.settings().console.ledger_report.read_bytes()
    except FileNotFoundError:
        st.caption("No report is there: `make ledger` leaves one, or a ledger whose `LEDGER__REPORT` is this file.")
        return
    except OSError as error:
        st.caption(f"The report can't be read: {error.strerror}.")
        return
    found = audit.audit(report)
    if found is None:
        st.caption("The file that should hold the report holds something else.")
        return
    st.markdown(f"The ledger was **{found.verdict}** at {wording.moment(found.checked_at)} UTC.")
    for name, about in found.broken.items():
        st.markdown(f"- {wording.plain(name)}: {wording.plain(about)}")
