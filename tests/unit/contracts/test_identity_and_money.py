"""Ids, moments, partitions and amounts: the arithmetic that every service must do alike."""

from __future__ import annotations

import base64
import hashlib
import json
from datetime import UTC, datetime, timedelta, timezone

import pytest
from aiokafka.partitioner import murmur2 as kafka_murmur2
from hypothesis import given
from hypothesis import strategies as st

from shared.contracts import identity, money
from shared.contracts.dead_letters import MAX_VALUE_BYTES, dead_letter
from shared.contracts.headers import cloud_event, header
from shared.contracts.rejections import Rejection, RejectionReason


def test_the_event_id_is_that_of_the_contract_s_example() -> None:
    source = "simtom/bnpl/2026-06-01.20260601"
    found = identity.event_id(source, "txn_00000000", "cust_000001-f6e48da5", "2026-06-01T00:06:06.000000Z")
    assert found == "67fe8419dece07edb7241636fe5e7b39"


@given(st.binary(max_size=64))
def test_keys_are_placed_as_kafka_s_own_clients_place_them(key: bytes) -> None:
    assert identity.murmur2(key) == kafka_murmur2(key) & 0xFFFFFFFF
    assert identity.partition_of(key, 12) == (kafka_murmur2(key) & 0x7FFFFFFF) % 12


@pytest.mark.parametrize(("key", "signed"), [(b"21", -973932308), (b"foobar", -790332482), (b"abc", 479470107)])
def test_murmur2_gives_the_values_known_from_kafka_s_tests(key: bytes, signed: int) -> None:
    assert identity.murmur2(key) == signed % 2**32


@given(st.datetimes(datetime(1971, 1, 1), datetime(2199, 1, 1)), st.integers(-12, 12))  # noqa: DTZ001
def test_a_moment_has_one_canonical_form_in_every_zone(moment: datetime, hours: int) -> None:
    here = moment.replace(tzinfo=UTC)
    there = here.astimezone(timezone(timedelta(hours=hours)))
    canonical = identity.canonical_time(there)
    assert canonical == identity.canonical_time(here)
    assert identity.from_epoch_micros(identity.epoch_micros(canonical)) == canonical


def test_a_time_without_a_zone_has_no_canonical_form() -> None:
    with pytest.raises(ValueError, match="zone"):
        identity.canonical_time(datetime(2026, 1, 1))  # noqa: DTZ001


def test_every_price_up_to_400_dollars_is_exact() -> None:
    for cents in range(40_001):
        assert money.minor_units(cents / 100, "USD") == (cents, False)
        assert money.minor_units(float(f"{cents / 100:.2f}"), "USD")[0] == cents


def test_every_small_price_is_exact_in_currencies_of_no_and_of_three_decimals() -> None:
    for minor in range(40_001):
        assert money.minor_units(minor, "JPY") == (minor, False)
        assert money.minor_units(minor / 1000, "KWD") == (minor, False)
        assert money.minor_units(money.major_units(minor, "KWD"), "KWD") == (minor, False)


@given(st.integers(0, 10**10), st.sampled_from(sorted(money.MINOR_DIGITS)))
def test_minor_units_survive_the_way_over_the_wire(minor: int, currency: str) -> None:
    amount = json.loads(json.dumps(money.major_units(minor, currency)))
    assert money.minor_units(amount, currency) == (minor, False)


@pytest.mark.parametrize("currency", sorted(money.MINOR_DIGITS))
def test_a_millionth_is_noise_and_two_are_a_finer_price(currency: str) -> None:
    assert money.minor_units(12.000001, currency) == (12 * money.MINOR_PER_MAJOR[currency], True)
    with pytest.raises(money.TooPrecise):
        money.minor_units(12.000002, currency)


@pytest.mark.parametrize(("amount", "currency", "minor"), [(1500, "JPY", 1500), (1.234, "KWD", 1234), (0.1, "EUR", 10)])
def test_currencies_have_their_own_number_of_decimals(amount: float, currency: str, minor: int) -> None:
    assert money.minor_units(amount, currency) == (minor, False)
    assert money.major_units(minor, currency) == amount


@pytest.mark.parametrize(("amount", "currency"), [(0.001, "USD"), (0.5, "JPY"), (10.0051, "EUR")])
def test_a_finer_price_than_the_currency_has_is_refused(amount: float, currency: str) -> None:
    with pytest.raises(money.TooPrecise):
        money.minor_units(amount, currency)


def test_noise_of_binary_numbers_is_taken_off_and_told() -> None:
    assert money.minor_units(0.1 + 0.2, "USD") == (30, True)
    assert money.minor_units(67.5099999999, "USD") == (6751, True)
    assert money.minor_units(99.9999999, "JPY") == (100, True)


def test_a_letter_keeps_the_original_bytes_and_their_hash_also_where_it_cuts() -> None:
    value = bytes(range(256)) * 300
    letter = dead_letter(
        Rejection(RejectionReason.SYNTAX, "amount", "a number"), service="features", topic="t", partition=1, offset=7,
        received_at="2026-06-01T00:00:00.000000Z", key=b"\xff", value=value, headers=[("h", b"\xfe")],
    )  # fmt: skip
    assert letter.reason == "syntax"
    assert "amount" in letter.detail
    assert base64.b64decode(letter.value_base64 or "") == value[:MAX_VALUE_BYTES]
    assert letter.value_sha256 == hashlib.sha256(value).hexdigest()
    assert letter.value_bytes == len(value)
    assert base64.b64decode(letter.key_base64 or "") == b"\xff"


def test_headers_follow_cloud_events_in_binary_mode() -> None:
    headers = cloud_event(
        event_id="e1", kind="decision", source="s", time="2026-06-01T00:00:00.000000Z", traceparent="t"
    )
    assert header(headers, "ce_id") == "e1"
    assert header(headers, "ce_specversion") == "1.0"
    assert header(headers, "schema_version") == "1"
    assert header(headers, "traceparent") == "t"
    assert header(headers, "nothing") is None
