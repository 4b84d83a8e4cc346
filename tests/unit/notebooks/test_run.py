"""Reports hold what the run recorded, and nothing else."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from notebooks import run
from notebooks.run import PICTURE, PLACEHOLDER, ReportIncomplete, notebooks, write_reports


@pytest.fixture
def templates(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "reports"
    folder.mkdir()
    monkeypatch.setattr(run, "HERE", tmp_path)
    return folder


def recorded(out: Path, **figures: str) -> None:
    folder = out / "04_models"
    folder.mkdir(parents=True)
    (folder / "figures.json").write_text(json.dumps(figures))
    (folder / "auc.png").write_bytes(b"a picture")


def test_figures_and_pictures_are_filled_in(tmp_path: Path, templates: Path) -> None:
    recorded(tmp_path / "out", ceiling="0.603")
    (templates / "models.md").write_text("It is {{04_models.ceiling}}. ![AUC](figures/04_models--auc.png)")
    (report,) = write_reports(tmp_path / "out", tmp_path / "docs")
    assert report.read_text() == "It is 0.603. ![AUC](figures/04_models--auc.png)"
    assert (tmp_path / "docs" / "figures" / "04_models--auc.png").read_bytes() == b"a picture"


@pytest.mark.parametrize(
    "text", ["{{04_models.unheard_of}}", "{{05_other.ceiling}}", "![x](figures/04_models--no.png)"]
)
def test_what_nobody_has_recorded_stops_the_report(tmp_path: Path, templates: Path, text: str) -> None:
    recorded(tmp_path / "out", ceiling="0.603")
    (templates / "models.md").write_text(text)
    with pytest.raises(ReportIncomplete):
        write_reports(tmp_path / "out", tmp_path / "docs")


def test_every_report_names_only_notebooks_that_there_are() -> None:
    known = {path.stem for path in notebooks(None)}
    reports = sorted((Path(run.__file__).parent / "reports").glob("*.md"))
    assert len(reports) == 4
    for report in reports:
        text = report.read_text()
        named = {notebook for notebook, _ in [*PLACEHOLDER.findall(text), *PICTURE.findall(text)]}
        assert named and named <= known


def test_an_executed_notebook_is_kept_and_its_sockets_are_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(run, "OUT", tmp_path / "out")
    run.OUT.mkdir()
    source = tmp_path / "00_small.py"
    source.write_text("# %%\nprint(6 * 7)\n")
    run.execute(source, dict(os.environ))
    assert '"42\\n"' in (tmp_path / "out" / "00_small.ipynb").read_text()
    assert {path.name for path in tmp_path.iterdir()} == {"out", "00_small.py"}
