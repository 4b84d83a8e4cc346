"""Frames against their suites, by Great Expectations, with pages that show what was expected and what was found."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import great_expectations as gx
import structlog
from great_expectations.checkpoint import UpdateDataDocsAction

from services.trainer.quality.frames import Frames
from services.trainer.quality.suites import Declared, suites
from shared.feature_definitions import FEATURES
from shared.model_artifact.registry import held
from shared.warehouse import tables

log = structlog.get_logger()

PAGES = Path("uncommitted/data_docs/local_site/index.html")
SHOWN = 3
"""Unexpected values named in a fault."""
PERSONAL = frozenset(column.name for column in tables.TRANSACTIONS.personal)
"""Whose values are told to nobody."""


@dataclass(frozen=True, slots=True)
class Fault:
    """An expectation that wasn't met."""

    suite: str
    expectation: str
    column: str | None
    observed: str

    def __str__(self) -> str:
        what = f"{self.expectation} of {self.column}" if self.column else self.expectation
        return f"{self.suite}: {what}: {self.observed}"


@dataclass(frozen=True, slots=True)
class Checked:
    """What came of a check."""

    expectations: int
    faults: tuple[Fault, ...]
    pages: str
    """The first page of the data docs."""


def declared() -> Declared:
    """What this code's own features are like."""
    return Declared(
        feature_names=[feature.name for feature in FEATURES],
        shares=[feature.name for feature in FEATURES if feature.unit == "share" and feature.rolling],
        never_negative=[feature.name for feature in FEATURES if feature.unit not in ("share", "flag")],
    )


def check(frames: Frames, folder: Path, *, pages: bool = True) -> Checked:
    """Hold each frame against the suite of its name. The pages in the folder keep the earlier results. Who shares it
    waits: what is in it is written anew each time."""
    folder.mkdir(parents=True, exist_ok=True)
    with held(folder / "lock"):
        return _check(frames, folder, pages)


def _context(folder: Path) -> Any:
    """What Great Expectations keeps in the folder; begun anew where that was cut off in the middle of a file."""
    try:
        return gx.get_context(mode="file", project_root_dir=str(folder))
    except Exception as error:  # noqa: BLE001  # of YAML, of its own, of an older release
        log.warning("quality_folder_begun_anew", reason=str(error)[:200])
        shutil.rmtree(folder / "gx")
        return gx.get_context(mode="file", project_root_dir=str(folder))


def _check(frames: Frames, folder: Path, pages: bool) -> Checked:
    context = _context(folder)
    context.variables.progress_bars = {"globally": False}
    source = context.data_sources.add_or_update_pandas("warehouse")
    wanted = suites(declared())
    actions = [UpdateDataDocsAction(name="pages")] if pages else []
    faults: list[Fault] = []
    expectations = 0
    for name, frame in frames.items():
        suite = context.suites.add_or_update(gx.ExpectationSuite(name=name, expectations=wanted[name]))
        batch = source.add_dataframe_asset(name).add_batch_definition_whole_dataframe("all")
        definition = context.validation_definitions.add_or_update(
            gx.ValidationDefinition(name=name, data=batch, suite=suite)
        )
        checkpoint = context.checkpoints.add_or_update(
            gx.Checkpoint(name=name, validation_definitions=[definition], actions=actions)
        )
        (result,) = checkpoint.run(batch_parameters={"dataframe": frame}).run_results.values()
        for one in result.results:
            expectations += 1
            if not one.success:
                faults.append(_fault(name, one.expectation_config, one.result, one.exception_info))
    return Checked(expectations, tuple(faults), str(folder / "gx" / PAGES))


def _fault(suite: str, config: Any, result: Mapping[str, Any], exception: Mapping[str, Any]) -> Fault:
    unexpected = result.get("partial_unexpected_list")
    if unexpected and config.kwargs.get("column") in PERSONAL:
        observed = f"{result.get('unexpected_count')} rows"
    elif unexpected:
        observed = f"{result.get('unexpected_count')} rows, such as {', '.join(map(str, unexpected[:SHOWN]))}"
    elif "observed_value" in result:
        observed = f"observed {result['observed_value']}"
    else:
        observed = _said(exception)
    return Fault(suite, config.type.removeprefix("expect_"), config.kwargs.get("column"), observed)


def _said(exception: Mapping[str, Any]) -> str:
    """The message of what was raised while it was checked, however deep it lies."""
    if "exception_message" in exception:
        return str(exception["exception_message"])
    inner = [value for value in exception.values() if isinstance(value, Mapping)]
    return _said(inner[0]) if inner else "not met"
