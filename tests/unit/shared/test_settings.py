from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from deploy.local.certificates import Authority
from shared.kafka.errors import BadTlsFile
from shared.settings import (
    BigQuerySettings,
    KafkaSettings,
    LimitsSettings,
    MetricsSettings,
    PrivacySettings,
    RedisSettings,
    ServiceSettings,
    load_settings,
)


class _Settings(ServiceSettings):
    kafka: KafkaSettings = KafkaSettings()
    bigquery: BigQuerySettings = BigQuerySettings()
    limits: LimitsSettings = LimitsSettings()


def test_a_nested_variable_reaches_its_field(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KAFKA__PARTITIONS", "12")
    assert load_settings(_Settings).kafka.partitions == 12


def test_unset_variables_mean_the_embedded_stack() -> None:
    settings = load_settings(_Settings)
    assert settings.kafka.bootstrap_servers == "127.0.0.1:19092"
    assert settings.bigquery.is_emulator


def test_empty_endpoints_mean_google_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BIGQUERY__REST_ENDPOINT", "")
    monkeypatch.setenv("BIGQUERY__GRPC_ENDPOINT", "")
    assert not load_settings(_Settings).bigquery.is_emulator


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("KAFKA__PARTITIONS", "none"),
        ("KAFKA__PARTITIONS", "0"),
        ("LIMITS__MAX_AMOUNT", "-1"),
        ("LOG__LEVEL", "LOUD"),
        ("PROFILE", "moon"),
    ],
)
def test_a_bad_setting_stops_the_start_with_one_line_that_names_it(
    variable: str, value: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(SystemExit) as stopped:
        load_settings(_Settings)
    assert stopped.value.code == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert variable in lines[0]


def test_half_an_emulator_is_refused(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("BIGQUERY__GRPC_ENDPOINT", "")
    with pytest.raises(SystemExit):
        load_settings(_Settings)
    assert "BIGQUERY" in capsys.readouterr().err


def test_production_refuses_plain_text(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("PROFILE", "production")
    with pytest.raises(SystemExit):
        load_settings(_Settings)
    assert "KAFKA__SECURITY_PROTOCOL" in capsys.readouterr().err


class _WithRedis(_Settings):
    redis: RedisSettings = RedisSettings()


ENCRYPTED = {
    "PROFILE": "production",
    "KAFKA__SECURITY_PROTOCOL": "SASL_SSL",
    "KAFKA__SASL_USERNAME": "flit-sink",
    "KAFKA__SASL_PASSWORD": "secret",
    "REDIS__URL": "rediss://flit-sink:secret@redis.example.com:6379/0",
}


def read(monkeypatch: pytest.MonkeyPatch, **changed: str) -> _WithRedis:
    for name, value in {**ENCRYPTED, **changed}.items():
        monkeypatch.setenv(name, value)
    return load_settings(_WithRedis)


def test_production_starts_where_everything_is_encrypted(monkeypatch: pytest.MonkeyPatch) -> None:
    assert read(monkeypatch).profile == "production"
    certificate = {"KAFKA__SECURITY_PROTOCOL": "SSL", "KAFKA__SSL_CERTFILE": "/c.pem", "KAFKA__SASL_USERNAME": ""}
    assert read(monkeypatch, **certificate).kafka.ssl_certfile == "/c.pem"


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"REDIS__URL": "redis://flit-sink:secret@redis.example.com:6379/0"}, "REDIS__URL"),
        ({"REDIS__URL": "unix:///run/redis.sock"}, "REDIS__URL"),
        ({"REDIS__URL": ENCRYPTED["REDIS__URL"] + "?ssl_cert_reqs=none"}, "REDIS__URL"),
        ({"REDIS__URL": ENCRYPTED["REDIS__URL"] + "?db=0&ssl_check_hostname=False"}, "REDIS__URL"),
        ({"KAFKA__SECURITY_PROTOCOL": "SASL_PLAINTEXT"}, "KAFKA__SECURITY_PROTOCOL"),
        ({"KAFKA__SECURITY_PROTOCOL": "SSL"}, "KAFKA__SSL_CERTFILE"),
        ({"KAFKA__SASL_PASSWORD": ""}, "KAFKA__SASL_PASSWORD"),
        ({"KAFKA__SSL_KEYFILE": "/key.pem"}, "KAFKA__SSL_CERTFILE"),
        ({"BIGQUERY__REST_ENDPOINT": "http://bigquery.example.com:9050"}, "BIGQUERY__REST_ENDPOINT"),
        ({"BIGQUERY__GRPC_ENDPOINT": "10.0.0.7:9060"}, "BIGQUERY__GRPC_ENDPOINT"),
    ],
)
def test_production_refuses_what_is_not_encrypted_or_anonymous_and_tells_no_secret(
    changed: dict[str, str], named: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        read(monkeypatch, **changed)
    said = capsys.readouterr().err
    assert named in said
    assert "secret" not in said


def test_a_certificate_without_encryption_is_a_mistake() -> None:
    with pytest.raises(ValidationError, match="KAFKA__SECURITY_PROTOCOL"):
        KafkaSettings(ssl_certfile="/c.pem")
    with pytest.raises(ValidationError, match="rediss://"):
        RedisSettings(ssl_cafile="/ca.pem")


def test_the_client_of_redis_is_told_whom_to_trust(tmp_path: Path) -> None:
    url, cafile = "rediss://u:p@h:6379/0", Authority(tmp_path / "a b").cafile
    told = f"ssl_ca_certs={str(cafile).replace('/', '%2F').replace(' ', '%20')}"
    assert RedisSettings(url=url).address == url
    assert RedisSettings(url=url, ssl_cafile=str(cafile)).address == f"{url}?{told}"
    assert RedisSettings(url=f"{url}?db=1", ssl_cafile=str(cafile)).address == f"{url}?db=1&{told}"
    for other in (tmp_path / "not-there", Path(__file__)):
        with pytest.raises(BadTlsFile, match="REDIS__SSL_CAFILE"):
            _ = RedisSettings(url=url, ssl_cafile=str(other)).address


def test_settings_can_not_change_after_they_were_read() -> None:
    settings = load_settings(_Settings)
    with pytest.raises(ValidationError):
        settings.kafka.partitions = 5  # type: ignore[misc]


def test_limits_reach_the_decoder_as_they_are_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIMITS__MAX_AMOUNT", "12.5")
    assert load_settings(_Settings).limits.limits().max_amount == 12.5


class _WithItsOwnPort(ServiceSettings):
    metrics: MetricsSettings = MetricsSettings(port=9999)


def test_setting_one_field_of_a_section_keeps_the_service_s_defaults_of_the_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("METRICS__HOST", "0.0.0.0")
    assert load_settings(_WithItsOwnPort).metrics.port == 9999


@pytest.mark.parametrize("value", ["short", "x" * 31])
def test_a_short_pseudonym_key_is_refused(value: str) -> None:
    with pytest.raises(ValidationError, match="32 characters"):
        PrivacySettings(pseudonym_key=value)


def test_an_empty_pseudonym_key_means_no_pseudonyms(monkeypatch: pytest.MonkeyPatch) -> None:
    class Private(_Settings):
        privacy: PrivacySettings = PrivacySettings()

    monkeypatch.setenv("PRIVACY__PSEUDONYM_KEY", "")
    assert not load_settings(Private).privacy.pseudonyms().on
    monkeypatch.setenv("PRIVACY__PSEUDONYM_KEY", "x" * 32)
    assert load_settings(Private).privacy.pseudonyms().on
    assert "xxx" not in repr(load_settings(Private))
