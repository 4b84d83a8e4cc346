"""When the sink begins."""

from __future__ import annotations

import pytest

from services.sink import __main__ as sink
from services.sink.settings import SinkSettings
from shared.warehouse.schema import Change, SchemaConflict


@pytest.mark.parametrize(
    ("changes", "begins"),
    [
        ([], True),
        ([Change("replace view", "flit_ml.decisions_current")], True),
        ([Change("replace view", "flit_ml.decisions_current"), Change("add column", "flit_ml_raw.features.x")], False),
        ([Change("create view", "flit_ml.decisions_current")], False),
    ],
)
async def test_it_begins_where_its_tables_are_as_declared_whatever_a_newer_release_made_of_the_views(
    changes: list[Change], begins: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sink, "pending_changes", lambda _: changes)
    if begins:
        await sink.prepared(SinkSettings())
        return
    with pytest.raises(SchemaConflict):
        await sink.prepared(SinkSettings())
