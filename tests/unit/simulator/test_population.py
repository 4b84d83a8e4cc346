from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.simulator import population
from services.simulator.population import AnyoneReturns, People, RegularsReturn, Visitors


@given(st.lists(st.integers(0, 60), max_size=20), st.integers(0, 2**32), st.sampled_from(["keep", "forget", "regular"]))
def test_every_visit_leads_to_a_person_that_exists(sizes: list[int], seed: int, kind: str) -> None:
    visitors: Visitors = RegularsReturn(10) if kind == "regular" else AnyoneReturns(forgetful=kind == "forget")
    rng, people, known = np.random.default_rng(seed), People(), 0
    for n in sizes:
        visits = visitors.come(rng, n)
        people.add(rng, 739_000, np.zeros(len(visits.made_at)))
        assert len(visits.numbers) == len(visits.rows) == n
        assert all(0 <= row < people.count for row in visits.rows.tolist())
        for number in visits.numbers.tolist():
            assert 1 <= number <= known + 1, "a number was skipped"
            known = max(known, number)


def test_who_is_remembered_keeps_the_same_row() -> None:
    visits = AnyoneReturns(forgetful=False).come(np.random.default_rng(1), 50_000)
    assert (visits.rows == visits.numbers - 1).all()
    assert len(visits.made_at) == visits.numbers.max()


def test_a_forgotten_customer_comes_back_as_another_person_under_the_old_number(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(population, "REMEMBERED", 50)
    visits = AnyoneReturns(forgetful=True).come(np.random.default_rng(1), 2_000)
    persons: dict[int, set[int]] = {}
    for number, row in zip(visits.numbers.tolist(), visits.rows.tolist(), strict=True):
        persons.setdefault(number, set()).add(row)
    assert max(map(len, persons.values())) > 1
    assert len(visits.made_at) > visits.numbers.max()
    assert len(set(visits.rows.tolist())) == len(visits.made_at)


def test_as_many_repeat_purchases_come_with_another_credit_band_as_measured() -> None:
    """Of the repeat purchases after the first 100,000 events of a long run: 61%."""
    rng, people = np.random.default_rng(5), People()
    visits = AnyoneReturns(forgetful=True).come(rng, 440_000)
    people.add(rng, 739_000, np.zeros(len(visits.made_at)))
    bands = people.codes(population.CREDIT, visits.rows).tolist()
    last: dict[int, int] = {}
    repeats, changed = 0, 0
    for position, (number, band) in enumerate(zip(visits.numbers.tolist(), bands, strict=True)):
        if position >= 100_000 and number in last:
            repeats += 1
            changed += band != last[number]
        last[number] = band
    assert changed / repeats == pytest.approx(0.61, abs=0.015)


def test_regulars_return_often_and_unequally() -> None:
    visits = RegularsReturn(100).come(np.random.default_rng(2), 6_000)  # sixty days
    purchases = sorted(Counter(visits.numbers.tolist()).values())
    assert np.mean(purchases) > 8
    assert purchases[-len(purchases) // 20] > 2 * np.median(purchases)


def test_a_riskier_population_has_lower_credit_bands_and_is_alike_otherwise() -> None:
    rng, people = np.random.default_rng(3), People()
    people.add(rng, 739_000, np.ones(4_000))
    people.add(rng, 739_000, np.zeros(4_000))
    risky, usual = np.arange(4_000), np.arange(4_000, 8_000)
    assert people.codes(population.CREDIT, risky).max() <= 1 < people.codes(population.CREDIT, usual).max()
    means = [people.codes(population.INCOME, rows).mean() for rows in (risky, usual)]
    assert means[0] == pytest.approx(means[1], abs=0.15)
