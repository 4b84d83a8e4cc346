from __future__ import annotations

from tests.bench.scale import busiest


def test_one_process_has_all_purchases() -> None:
    assert busiest(64, 1) == 1.0


def test_the_busiest_of_several_has_more_than_its_share_and_not_much_more() -> None:
    assert 1 / 16 < busiest(64, 16) < 1.25 / 16
