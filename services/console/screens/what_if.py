"""Another policy on what has been decided, with what became of it."""

from __future__ import annotations

from datetime import datetime, timedelta
from decimal import Decimal

import streamlit as st

from services.console import access, charts, wording
from services.console.queries import cases, days, decisions
from services.console.queries.days import Day
from services.console.views import what_if
from shared.model_artifact.manifest import ArtifactRefused
from shared.policy import Policy, PolicyFileError, load_policy
from shared.policy.backtest import KnownChances
from shared.policy.exploration import exploration_of
from shared.policy.file import Exploration

UNREADABLE = (ArtifactRefused, PolicyFileError, OSError)
"""A policy that isn't kept any more, or not to be had now."""

DAYS = 120
"""Back from the stream's own time: long enough for what was bought in instalments to have matured."""
STEP = 0.0005
HIGHEST = 0.20
"""A loss rate beyond which nobody would approve."""


def show() -> None:
    st.title("What-if")
    with access.in_words():
        policy, told = _policy()
        known, of = _cases()
        if not known.cases:
            st.info("There is nothing to decide again: the warehouse has no decision yet, or none where it was sought.")
            return
        st.caption(
            f"{told} {len(known.cases):,} of {of}, drawn by their place in the log, are decided again "
            "with the trainer's own backtest. Profit counts purchases whose outcome is known alone: what was declined "
            f"has none, but for what chance let through, which stands for its kind.{_unknown(known.unknown)}"
        )
        proposed = _thresholds(policy)
        if proposed is not None:
            _compared(known, proposed)


def _unknown(chances: int) -> str:
    if not chances:
        return ""
    return (
        f" {chances:,} purchases were let through by chance under policies that aren't kept any more: nobody knows for"
        " how many they stand, and their outcomes are left out."
    )


def _policy() -> tuple[Policy, str]:
    """The policy that decided last, where the registry keeps it."""
    latest = access.lately(decisions.policy_in_service, access.steady)
    if latest is not None:
        name = latest["policy_version"]
        try:
            return _kept(name), f"Starts from the policy in service, {name}."
        except UNREADABLE:
            return (
                load_policy(),
                f"The policy in service, {name}, isn't kept in the registry: starts from the default one.",
            )
    return load_policy(), "Starts from the default policy."


def _cases() -> tuple[KnownChances, str]:
    """A share of the decisions, and of how many it is one."""
    row = access.lately(cases.clock, access.long)
    if row is None:
        return what_if.cases([], _exploration_of), ""
    clock: datetime = row["moment"]
    # To the day, so that the same question is asked until the stream's next.
    until = _day_of(clock) + timedelta(days=1)
    since = until - timedelta(days=DAYS)
    seen = access.lately(cases.watched, access.long)
    as_of = since if seen is None else _day_of(min(clock, seen["moment"]))
    found, before = _decided(since, until, as_of)
    whole, windows = days.drawn(found)
    parts = days.days_of(access.long(days.decided_in(windows, since, before))) if windows else []
    read = [*whole, *parts]
    if not read:
        return what_if.cases([], _exploration_of), ""
    of = f"{sum(day.decisions for day in read):,} decisions"
    if parts or len(read) < len(found):
        of += f" of {'1 day' if len(read) == 1 else f'{len(read)} days'} out of {len(found)}"
    if parts:
        of += f", {'each' if len(parts) == len(read) else f'{len(parts)} of them'} in part"
    of += f", on purchases made up to {wording.moment(max(day.last for day in read))[:10]}"
    return what_if.cases(access.long(cases.matured(since, before, as_of, read)), _exploration_of), of


def _decided(since: datetime, until: datetime, as_of: datetime) -> tuple[list[Day], datetime]:
    """The days with decisions on purchases that may have matured, and before when these were made; where there is no
    such decision yet, the days with any."""
    old = as_of - cases.SHORTEST_TERM
    found = days.days_of(access.long(days.decided_between(since, old)))
    if found:
        return found, old
    return days.days_of(access.long(days.decided_between(since, until))), until


def _day_of(moment: datetime) -> datetime:
    return moment.replace(hour=0, minute=0, second=0, microsecond=0)


def _exploration_of(policy: str) -> Exploration | None:
    try:
        return exploration_of(_kept(policy))
    except (*UNREADABLE, ValueError):
        return None


def _kept(policy: str) -> Policy:
    """Raises UNREADABLE."""
    return load_policy(access.registry().kept_policy(policy), kept=True)


def _thresholds(policy: Policy) -> Policy | None:
    """The policy that the sliders make of it; None where they contradict each other."""
    now = policy.thresholds
    highest = max(min(HIGHEST, float(policy.loss_given_default)), float(now.decline_above))
    approve = st.slider(
        "Approve up to an expected loss of this share of the amount", 0.0, highest, float(now.approve_up_to), STEP,
        format="percent", key="approve_up_to",
    )  # fmt: skip
    decline = st.slider(
        "Decline above; between the two a person looks", 0.0, highest, float(now.decline_above), STEP, format="percent",
        key="decline_above",
    )  # fmt: skip
    if decline < approve:
        st.warning("Declining must begin where approving ends, or above.", icon=":material/warning:")
        return None
    return what_if.moved(policy, Decimal(f"{approve:.4f}"), Decimal(f"{decline:.4f}"))


def _compared(known: KnownChances, proposed: Policy) -> None:
    trial = what_if.trial(known, proposed, access.settings().trainer.economics)
    before, after = trial.logged, trial.proposed
    with st.container(horizontal=True, gap="large"):
        st.metric(
            "Approved", wording.share(after.approval_rate), width="content",
            delta=None if before.approval_rate is None or after.approval_rate is None
            else f"{100 * (after.approval_rate - before.approval_rate):+.1f} points", delta_color="off",
        )  # fmt: skip
        st.metric(
            "Expected loss", f"{after.expected_loss:,.0f} USD",
            delta=f"{after.expected_loss - before.expected_loss:+,.0f}", delta_color="inverse", width="content",
        )  # fmt: skip
        st.metric("Profit", f"{after.profit:,.0f} USD", delta=f"{after.profit - before.profit:+,.0f}", width="content")
        st.metric("Decisions changed", f"{trial.changed:,} of {trial.purchases:,}", width="content")
    st.table(
        [
            {"": name, "As decided": was, "As proposed": would}
            for name, was, would in (
                ("Default rate", wording.share(before.default_rate), wording.share(after.default_rate)),
                ("Profit, basis points", wording.number(before.profit_bp), wording.number(after.profit_bp)),
                ("Outcome known of", f"{before.known:,}", f"{after.known:,}"),
            )
        ],
        hide_index=True,
        border="horizontal",
        alt="Default rate and profit, as decided and as proposed.",
    )
    if len(trial.curve) < 2:
        st.caption("No outcome has matured yet, so that no profit can be shown.")
        return
    loss = float(proposed.loss_given_default)
    limits = {
        "approve": float(proposed.thresholds.approve_up_to) / loss,
        "decline": float(proposed.thresholds.decline_above) / loss,
    }
    figure, said = charts.profit(trial.curve, limits)
    st.plotly_chart(figure, config=charts.CONFIG, key="profit", alt=said)
    st.caption(f"{said} Dotted: where approving ends and declining begins.")
