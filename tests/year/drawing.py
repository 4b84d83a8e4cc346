"""The year in one picture: the models against the moving ceiling, and what happened when."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("agg")
import matplotlib.pyplot as plt

INK, QUIET, MODEL, ALARM = "#222222", "#9a9a9a", "#1f6f8b", "#b00020"
SHADES = ("#eef4f6", "#dfe9ec")
"""Behind the reigns of the models, in turn."""


def draw(found: dict[str, Any], path: Path) -> None:
    """Writes the picture (PNG)."""
    figure, (above, below) = plt.subplots(2, 1, figsize=(11, 7), sharex=True, height_ratios=(2, 1))
    middles = [(row["from_day"] + row["to_day"]) / 2 for row in found["windows"]]
    for number, reign in enumerate(found["versions"]):
        for axis in (above, below):
            axis.axvspan(reign["from_day"], reign["to_day"], color=SHADES[number % 2], lw=0)
        above.text(reign["from_day"] + 1, 0.02, reign["version"][:6], transform=above.get_xaxis_transform(),
                   fontsize=7, color=QUIET)  # fmt: skip
    above.plot(middles, [row["ceiling"] for row in found["windows"]], color=INK, lw=1, ls="--",
               label="ceiling: the law itself")  # fmt: skip
    errors = [2 * row["gap_error"] for row in found["windows"]]
    above.errorbar(middles, [row["auc"] for row in found["windows"]], errors, color=MODEL, marker="o", ms=4, capsize=2,
                   label="the models in service, ± 2 errors of the gap")  # fmt: skip
    estimates = found["estimates"]
    above.plot([(each["from_day"] + each["to_day"]) / 2 for each in estimates],
               [each["estimated_auc"] for each in estimates], ls="", marker="D", ms=5, mfc="none", color=INK,
               label="estimated, before outcomes were known")  # fmt: skip
    above.set_ylabel("AUC")
    below.plot(middles, [row["came"] for row in found["windows"]], color=INK, lw=1, ls="--", label="defaulted")
    below.plot(middles, [row["said"] for row in found["windows"]], color=MODEL, marker="o", ms=4, label="predicted")
    below.yaxis.set_major_formatter(matplotlib.ticker.PercentFormatter(1.0))
    below.set_ylabel("share of purchases")
    below.set_xlabel("day of the year")
    for day, name in ((found["plan"]["attributes_day"], "other purchases"), (found["plan"]["law_day"], "another law")):
        for axis in (above, below):
            axis.axvline(day, color=INK, lw=1)
        above.text(day + 1, 0.94, name, transform=above.get_xaxis_transform(), fontsize=9)
    for kind in ("attributes", "law"):
        if (noticed := found["alarms"][kind]["day"]) is not None:
            above.axvline(noticed, color=ALARM, lw=1, ls=":", label="noticed" if kind == "attributes" else None)
    for training in found["trainings"]:
        below.plot(training["day"], 0.03, marker="^", ms=5, color=ALARM, transform=below.get_xaxis_transform(),
                   mfc=ALARM if training["came"] == "model" else "none")  # fmt: skip
    above.legend(loc="lower right", fontsize=8, frameon=False)
    below.legend(loc="upper left", fontsize=8, frameon=False)
    above.set_title(
        "A year of models that look after themselves (triangles: trainings; hollow: too early or in vain)",
        loc="left",
        fontsize=11,
    )
    figure.tight_layout()
    figure.savefig(path, dpi=120)
    plt.close(figure)
