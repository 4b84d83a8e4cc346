"""Rules, dashboards and run-books: what they name exists, and what has to be written about is written about."""

from __future__ import annotations

import json
import re

import pytest
import yaml

from deploy.local.supervisor import SERVICES as SUPERVISED
from deploy.monitoring.__main__ import FOLDER, files
from deploy.monitoring.alerts import ALWAYS, DRIFT, JOBS
from deploy.monitoring.cases import CASES
from deploy.monitoring.dashboards import DASHBOARDS
from deploy.monitoring.dashboards.panels import COLUMNS, DOCS, Panel
from deploy.monitoring.objectives import OBJECTIVES
from deploy.monitoring.operator import UNPROVEN
from deploy.monitoring.rules import alert_names, alerting_rules, annotations_of
from services.ledger.settings import DEFAULT_PORT as LEDGER_PORT
from services.trainer.drift import THRESHOLD
from tests.deployment import BASE, MONITORING, PROD, REPOSITORY, compose, kustomize
from tests.monitoring import (
    OF_TARGETS,
    RUNBOOKS,
    expressions,
    grouped_by,
    metrics_of_the_code,
    recorded,
    selectors,
)

METRICS = metrics_of_the_code()
PAGES = sorted(RUNBOOKS.glob("*.md"))
EXPRESSIONS = dict(expressions())
OF_PODS = frozenset({"pod"})
"""Labels that the operator's targets have beside: an expression may keep them, and goes by none of them."""
PANELS = [(name, panel) for name, dashboard in DASHBOARDS.items() for panel in dashboard.panels]


def test_every_file_is_what_the_declarations_say() -> None:
    differing = [path.name for path, text in files().items() if path.read_text() != text]
    assert differing == [], "run `python -m deploy.monitoring write`"
    written = set(FOLDER.rglob("*.json")) | set((FOLDER / "rules").glob("*.yml"))
    assert written == set(files())


def test_every_alert_has_a_page_and_every_page_an_alert() -> None:
    assert {page.stem for page in PAGES} == {*alert_names(), UNPROVEN.name}
    for name in alert_names():
        assert (REPOSITORY / annotations_of(name)["runbook"]).is_file()


def test_every_alert_is_tested_to_fire_and_to_clear() -> None:
    assert {case.alert for case in CASES} | {objective.alert for objective in OBJECTIVES} == set(alert_names())
    tests = yaml.safe_load((FOLDER / "rules/alerts.test.yml").read_text())["tests"]
    for alert in alert_names():
        looks = [look for test in tests for look in test["alert_rule_test"] if look["alertname"] == alert]
        fires = min(float(look["eval_time"][:-1]) for look in looks if look["exp_alerts"])
        clears = [look for look in looks if not look["exp_alerts"] and float(look["eval_time"][:-1]) > fires]
        assert clears, alert


@pytest.mark.parametrize("rule", [rule for group in alerting_rules()["groups"] for rule in group["rules"]],
                         ids=lambda rule: f"{rule['alert']}-{rule['labels']['severity']}")  # fmt: skip
def test_an_alert_says_how_urgent_it_is_and_what_it_is_in_a_sentence(rule: dict[str, dict[str, str]]) -> None:
    assert rule["labels"]["severity"] in {"page", "ticket"}
    assert re.fullmatch(r"[A-Z].*\.", rule["annotations"]["summary"])


@pytest.mark.parametrize("where", EXPRESSIONS)
def test_metrics_and_labels_of_an_expression_exist(where: str) -> None:
    expression = EXPRESSIONS[where]
    known = METRICS | {name: frozenset[str]() for name in recorded()}
    named = list(selectors(expression))
    assert named, expression
    for name, labels in named:
        assert name in known, f"{name} in {expression}"
        assert set(labels) <= known[name] | OF_TARGETS, f"{name}{labels} in {expression}"
    assert grouped_by(expression) <= (OF_TARGETS | OF_PODS).union(*(known[name] for name, _ in named)), expression
    assert expression.count("(") == expression.count(")")


@pytest.mark.parametrize("where", EXPRESSIONS)
def test_what_every_process_has_is_asked_of_our_own_targets_alone(where: str) -> None:
    for name, labels in selectors(EXPRESSIONS[where]):
        assert name.startswith(("flit_", "flit:")) or name == "ALERTS" or "job" in labels, name


def test_panels_lead_to_pages_of_the_site() -> None:
    site = yaml.load((REPOSITORY / "mkdocs.yml").read_text(), Loader=yaml.BaseLoader)
    assert f"http://{site['dev_addr']}" == DOCS
    assert site["use_directory_urls"] == "false"
    links = {
        link["url"]
        for board in DASHBOARDS.values()
        for panel in board.document()["panels"]
        for link in panel.get("links", ())
    }
    assert links
    for link in links:
        page = link.removeprefix("${docs}/").removesuffix(".html")
        assert (REPOSITORY / "docs" / f"{page}.md").is_file(), link


def test_our_jobs_are_those_that_prometheus_is_told_of() -> None:
    asked = {
        group["labels"]["job"]
        for file in ("targets/embedded.yml", "compose/targets.yml")
        for group in yaml.safe_load((FOLDER / file).read_text())
    }
    (monitor,) = (one for one in kustomize(BASE, MONITORING) if one["kind"] == "ServiceMonitor")
    (expression,) = monitor["spec"]["selector"]["matchExpressions"]
    assert set(JOBS) == asked | set(expression["values"])


def test_who_always_runs_is_missed_and_nobody_else() -> None:
    """Of a service without a target no series says that it is down."""
    missed = re.findall(r'absent\(up\{job="(\w+)"\}\)', EXPRESSIONS["alert ServiceDown (page)"])
    assert sorted(missed) == sorted(ALWAYS)
    embedded = yaml.safe_load((FOLDER / "targets/embedded.yml").read_text())
    assert set(ALWAYS) <= {one["labels"]["job"] for one in embedded if "optional" not in one["labels"]}
    core = {name for name, one in compose()["services"].items() if not one.get("profiles")}
    deployed = {one["metadata"]["name"] for one in kustomize(PROD) if one["kind"] == "Deployment"}
    assert set(ALWAYS) <= core & deployed
    cases = [case for case in CASES if case.alert == "ServiceDown"]
    assert any("instance" not in case.labels for case in cases), "a target that goes with its service"


def test_a_metric_or_label_that_does_not_exist_is_found() -> None:
    assert dict(selectors('sum by (le) (rate(flit_nonsense_total{a="b",c=~"d"}[5m])) > 1')) == {
        "flit_nonsense_total": ["a", "c"]
    }
    assert grouped_by("sum by (service, topic) (flit_events_total)") == {"service", "topic"}


def test_every_metric_of_the_contract_is_shown_or_alerted_on() -> None:
    text = (REPOSITORY / "docs/reference/contract.md").read_text().split("## Metrics")[1]
    promised = set(re.findall(r"`(flit_\w+)`", text))
    assert promised
    shown = {name.removesuffix("_bucket").removesuffix("_count") for one in EXPRESSIONS.values()
             for name, _ in selectors(one)}  # fmt: skip
    assert promised <= shown


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_page_says_what_it_means_how_to_see_what_to_do_and_when_it_clears(page: object) -> None:
    text = (RUNBOOKS / str(page)).read_text()
    parts = re.split(r"^## ", text, flags=re.MULTILINE)
    assert [part.partition("\n")[0] for part in parts[1:]] == [
        "What it means", "How to see it", "What to do", "When it clears",
    ]  # fmt: skip
    assert all(len(part.partition("\n")[2].strip()) > 10 for part in parts[1:])
    # In a pattern of grep a name may be cut short.
    for name in re.findall(r"\bflit_\w*[a-z]\b(?![\w(/])", re.sub(r"\bflit_(ml|bnpl)\w*\.\w+", "", text)):
        assert any(known.startswith(name) for known in METRICS), name


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_port_that_a_page_names_is_one_of_a_service(page: object) -> None:
    for port in re.findall(r"127\.0\.0\.1:(91\d\d)", (RUNBOOKS / str(page)).read_text()):
        assert int(port) in {one.metrics_port for one in SUPERVISED} | {LEDGER_PORT}


@pytest.mark.parametrize(("name", "panel"), PANELS, ids=lambda one: one.title if isinstance(one, Panel) else one)
def test_a_panel_says_what_it_shows_in_which_unit_and_where_to_read_on(name: str, panel: Panel) -> None:
    assert panel.title and panel.about.endswith(".") and panel.unit
    assert set(panel.alerts) <= set(alert_names())
    assert 0 < panel.width <= COLUMNS
    limits = list(panel.limits)
    assert limits == sorted(limits, reverse=panel.falling)


@pytest.mark.parametrize("name", DASHBOARDS)
def test_panels_of_a_dashboard_do_not_overlap(name: str) -> None:
    document = json.loads((FOLDER / f"grafana/dashboards/{name}.json").read_text())
    taken: set[tuple[int, int]] = set()
    for panel in document["panels"]:
        place = panel["gridPos"]
        cells = {(x, y) for x in range(place["x"], place["x"] + place["w"])
                 for y in range(place["y"], place["y"] + place["h"])}  # fmt: skip
        assert not cells & taken and place["x"] + place["w"] <= COLUMNS, panel["title"]
        taken |= cells


def test_every_alert_is_reached_from_a_panel() -> None:
    assert {alert for _, panel in PANELS for alert in panel.alerts} == set(alert_names())


def test_variables_of_queries_are_those_of_their_dashboard() -> None:
    for name, panel in PANELS:
        for query in panel.queries:
            used = set(re.findall(r"\$(\w+)", query.expression)) - {"__rate_interval"}
            assert used <= set(DASHBOARDS[name].variables), panel.title
    for dashboard in DASHBOARDS.values():
        for label, metric in dashboard.variables.items():
            assert label in METRICS[metric]


def test_prometheus_asks_the_embedded_stack_where_its_services_are() -> None:
    targets = yaml.safe_load((FOLDER / "targets/embedded.yml").read_text())
    asked = {group["labels"]["job"]: group["targets"] for group in targets if "optional" not in group["labels"]}
    assert asked == {one.name: [f"127.0.0.1:{one.metrics_port}"] for one in SUPERVISED}
    optional = {group["labels"]["job"]: group["targets"] for group in targets if "optional" in group["labels"]}
    assert optional == {"ledger": [f"127.0.0.1:{LEDGER_PORT}"]}


def test_prometheus_asks_every_container_of_ours_that_serves_metrics() -> None:
    targets = yaml.safe_load((FOLDER / "compose/targets.yml").read_text())
    asked = {target for group in targets if "optional" not in group["labels"] for target in group["targets"]}
    serving = {
        name for name, one in compose()["services"].items() if any(":9100" in port for port in one.get("ports", ()))
    }
    assert {f"{name}:9100" for name in serving} == asked
    assert [group["targets"] for group in targets if "optional" in group["labels"]] == [["ledger:9100"]]


def test_prometheus_of_compose_shares_a_network_with_each_container_that_it_asks() -> None:
    services = compose()["services"]
    targets = yaml.safe_load((FOLDER / "compose/targets.yml").read_text())
    names = {target.removesuffix(":9100") for group in targets for target in group["targets"]}
    own = set(services["prometheus"]["networks"])
    assert [name for name in names if not own & set(services[name]["networks"])] == []
    (scaled,) = yaml.safe_load((FOLDER / "compose/scaled.yml").read_text())["scrape_configs"][0]["dns_sd_configs"]
    assert set(scaled["names"]) == names


def test_drift_counts_from_where_the_trainer_has_it() -> None:
    assert DRIFT == THRESHOLD
