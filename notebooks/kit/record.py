"""What a notebook reports: numbers, tables and pictures, by name. Reports are written from these and nothing else."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

COLOURS = ("#1f4e79", "#c0504d", "#7f9f3f", "#e0a030", "#6f5f9f", "#3f9f9f", "#909090", "#202020")


class Record:
    """Of one notebook. What it holds is on disk at once."""

    def __init__(self, notebook: str) -> None:
        self._folder = Path(os.environ.get("RESEARCH_OUT", "out/research")) / notebook
        self._folder.mkdir(parents=True, exist_ok=True)
        self._known: dict[str, str] = {}
        sns.set_theme(style="whitegrid", palette=COLOURS)
        # The same bytes from the same figures: no date, and a fixed salt for ids.
        mpl.rcParams.update({"figure.figsize": (8, 4.5), "figure.dpi": 110, "svg.hashsalt": "flit-risk"})

    def number(self, name: str, value: float, form: str = ".3f") -> None:
        """A figure, and how it is to be written in a sentence."""
        self._keep(name, format(value, form))

    def text(self, name: str, text: str) -> None:
        self._keep(name, text)

    def table(self, name: str, frame: pd.DataFrame, form: str = ".3f") -> None:
        """As a table of the report; the index is its first column where it has a name."""
        shown = frame.reset_index() if frame.index.name else frame
        cells = [[_cell(value, form) for value in row] for row in shown.itertuples(index=False)]
        lines = [" | ".join(map(str, shown.columns)), " | ".join(["---"] * len(shown.columns)), *map(" | ".join, cells)]
        self._keep(name, "\n".join(f"| {line} |" for line in lines))

    def picture(self, name: str, figure: Figure) -> None:
        """Kept as an image, and shown in the notebook."""
        figure.tight_layout()
        figure.savefig(self._folder / f"{name}.png", metadata={"Software": None})
        plt.show()

    def page(self, name: str, figure: Any) -> None:
        """An interactive figure of plotly's, as a page of its own."""
        figure.write_html(self._folder / f"{name}.html", include_plotlyjs="cdn", div_id=name)

    def _keep(self, name: str, text: str) -> None:
        self._known[name] = text
        (self._folder / "figures.json").write_text(json.dumps(self._known, indent=1, sort_keys=True))
        print(f"{name}: {text}" if "\n" not in text else f"{name}:\n{text}")


def _cell(value: Any, form: str) -> str:
    if isinstance(value, float):
        return "–" if math.isnan(value) else format(value, form)
    return str(value)
