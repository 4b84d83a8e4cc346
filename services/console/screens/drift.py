"""How far features have moved."""

from __future__ import annotations

import streamlit as st

from services.console import access, charts, wording
from services.console.queries import models
from services.console.views import drift

DAYS = 180
SHOWN = 15
"""Features in the chart, those that moved most; the table has all."""


def show() -> None:
    st.title("Drift")
    with access.in_words():
        since = access.days_back(DAYS)
        compared = [drift.Comparison(row["days"], row["against"]) for row in access.steady(models.comparisons(since))]
        if not compared:
            st.info(
                "Drift has not been looked at yet: `python -m services.trainer drift` compares the model's training "
                "window with the last days."
            )
            return
        one = compared[0]
        if len(compared) > 1:
            one = st.selectbox("Comparison", compared, format_func=str, key="drift_comparison")
        found = drift.looks(access.steady(models.drift(since, one.days, one.against)))
        _newest(found[0], one)
        _over_time(found)


def _newest(look: drift.Look, compared: drift.Comparison) -> None:
    with st.container(horizontal=True, gap="large"):
        st.metric("Drifted features", f"{len(look.drifted)} of {len(look.scores)}", width="content")
        st.metric("Events compared", f"{look.events:,}", width="content")
        st.metric("Looked at (UTC)", wording.moment(look.evaluated_at)[:16], width="content")
    st.caption(f"Purchases of {look.window} against {compared.other} (model {look.model_version}).")
    figure, said = charts.scores(dict(list(look.scores.items())[:SHOWN]), look.drifted, compared.score)
    st.plotly_chart(figure, config=charts.CONFIG, key="scores", alt=said)
    st.caption(
        f"{len(look.drifted)} of {len(look.scores)} features have drifted; shown are the {SHOWN} that moved most."
    )
    with st.expander("Every feature"):
        st.dataframe(
            [
                {"Feature": wording.feature(name), "Score": round(score, 4), "Drifted": name in look.drifted}
                for name, score in look.scores.items()
            ],
            hide_index=True,
            alt="Every feature with its drift score, the largest first.",
        )


def _over_time(found: list[drift.Look]) -> None:
    st.subheader("Over time")
    feature = st.selectbox("Feature", list(found[0].scores), format_func=wording.feature, key="drift_feature")
    of = drift.of_one_reference(found)
    figure, said = charts.course(drift.course(of, feature), y=f"drift score of {wording.feature(feature)}")
    st.plotly_chart(figure, config=charts.CONFIG, key="course", alt=said)
    others = "" if len(of) == len(found) else " Looks at other models, with other training windows, are left out."
    st.caption(said + others)
