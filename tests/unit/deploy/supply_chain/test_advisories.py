"""Which advisories fail the audit."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import pytest

from deploy.supply_chain import __main__ as audit
from deploy.supply_chain.advisories import LONGEST, Advisory, Ignored, IgnoredError, judge, read_ignored

TODAY = dt.date(2026, 6, 1)
WEAK = Advisory("jinja2", "2.11.2", frozenset({"PYSEC-2021-66", "CVE-2020-28493"}), ("2.11.3",))
REASON = "only our own templates are rendered"


def entry(**changes: object) -> str:
    fields = {"advisory": '"PYSEC-2021-66"', "package": '"jinja2"', "reason": f'"{REASON}"', "expires": "2026-07-01"}
    return "[[ignored]]\n" + "".join(f"{name} = {value}\n" for name, value in (fields | changes).items() if value)


def test_an_advisory_fails_unless_it_is_ignored() -> None:
    assert judge([WEAK], [], [], TODAY).failing == (str(WEAK),)
    verdict = judge([WEAK], [], read_ignored(entry(), TODAY), TODAY)
    assert verdict.failing == () and REASON in verdict.ignored[0]


def test_an_alias_of_the_advisory_will_do_and_another_packages_entry_will_not() -> None:
    assert not judge([WEAK], [], read_ignored(entry(advisory='"CVE-2020-28493"'), TODAY), TODAY).failing
    assert judge([WEAK], [], read_ignored(entry(package='"markupsafe"'), TODAY), TODAY).failing


def test_an_entry_holds_on_its_last_day_and_not_on_the_next() -> None:
    ignored = [Ignored("PYSEC-2021-66", "jinja2", REASON, TODAY)]
    assert not judge([WEAK], [], ignored, TODAY).failing
    (line,) = judge([WEAK], [], ignored, TODAY + dt.timedelta(days=1)).failing
    assert "ignored until 2026-06-01" in line


def test_a_package_that_the_source_does_not_know_fails() -> None:
    assert "flask" in judge([], ["flask"], read_ignored(entry(), TODAY), TODAY).failing[0]


def test_an_entry_that_is_not_needed_any_more_is_said_and_does_no_harm() -> None:
    verdict = judge([], [], read_ignored(entry(), TODAY), TODAY)
    assert verdict.unused == ("jinja2 PYSEC-2021-66",) and not verdict.failing


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[[ignored]", "not TOML"),
        (entry(reason=None), "needs advisory, expires, package, reason"),
        (entry(expires=None), "needs advisory, expires, package, reason"),
        (entry(until="2026-07-01"), "nothing else"),
        (entry(reason='"  "'), "are texts"),
        (entry(advisory="7"), "are texts"),
        (entry(reason='"not us"'), "says nothing"),
        (entry(expires='"2026-07-01"'), "is a date"),
        (entry(expires="2026-07-01T00:00:00Z"), "is a date"),
        (entry(expires=str(TODAY + LONGEST + dt.timedelta(days=1))), "later than 180 days"),
        (entry() + entry(), "twice"),
        ("[[accepted]]\n", "unknown: accepted"),
    ],
)
def test_an_entry_without_a_reason_or_a_near_end_is_refused(text: str, said: str) -> None:
    with pytest.raises(IgnoredError, match=said):
        read_ignored(text, TODAY)


def test_the_repositorys_own_list_is_whole() -> None:
    read_ignored(audit.IGNORED.read_text(), dt.datetime.now(dt.UTC).date())


def test_a_broken_list_ends_the_audit_before_anybody_is_asked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "ignored.toml").write_text(entry(reason=None))
    assert audit.main(ignored_file=tmp_path / "ignored.toml", bill=tmp_path / "sbom.json") == 2
    assert "audit: entry 1 (PYSEC-2021-66)" in capsys.readouterr().err
