from __future__ import annotations

import pytest

from deploy.local.ports import free_port
from services.ledger import __main__ as command


def test_without_brokers_nothing_is_known_and_it_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["ledger"])
    monkeypatch.setenv("KAFKA__BOOTSTRAP_SERVERS", f"127.0.0.1:{free_port()}")
    with pytest.raises(SystemExit) as left:
        command.main()
    assert left.value.code == command.EXIT_NOTHING_KNOWN
    assert "nothing is known" in capsys.readouterr().out
