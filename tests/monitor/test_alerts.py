"""deploy/grafana and deploy/prometheus: only metrics and labels that there are; alerts fire in time."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from django.core.management import get_commands, load_command_class
from prometheus_client.parser import text_string_to_metric_families

from django_letsgo_worker import enqueue
from django_letsgo_worker.models import ArchivedMessage, ScheduledJob
from django_letsgo_worker.monitor.metrics import HISTOGRAM, METRICS
from tests.docs.test_index import anchors
from tests.support import ROOT, wait_until

from .test_monitor import SETTINGS, Site

DASHBOARD = json.loads((ROOT / "deploy" / "grafana" / "letsgo.json").read_text())
RULES = ROOT / "deploy" / "prometheus" / "letsgo.rules.yml"
PAGE = ROOT / "docs" / "howto" / "monitor-with-grafana.md"
(GROUP,) = yaml.safe_load(RULES.read_text())["groups"]
ALERTS: dict[str, dict[str, Any]] = {rule["alert"]: rule for rule in GROUP["rules"]}

PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
TARGETS = [(panel, target) for panel in PANELS for target in panel["targets"]]
# By the name of a series, the labels that it has.
SERIES: dict[str, set[str]] = {}
for metric in METRICS:
    if metric.kind == HISTOGRAM:
        SERIES[f"{metric.name}_bucket"] = {*metric.labels, "le"}
    else:
        SERIES[metric.name] = set(metric.labels)

needs_promtool = pytest.mark.skipif(
    shutil.which("promtool") is None, reason="promtool is missing: apt-get install prometheus"
)


def expressions() -> Iterator[tuple[str, str]]:
    """All of PromQL in these files, with the name of what it stands in."""
    yield from ((panel["title"], target["expr"]) for panel, target in TARGETS)
    yield from ((name, rule["expr"]) for name, rule in ALERTS.items())


def series_of(expression: str) -> set[str]:
    return set(re.findall(r"\bletsgo_\w+", expression))


def labels_of(expression: str) -> set[str]:
    """The labels that an expression selects and groups by."""
    selected = re.findall(r"[{,]\s*(\w+)\s*(?:=~|!~|!=|=)", expression)
    groups = re.findall(r"\b(?:by|on) \((.*?)\)", expression)
    return {*selected, *(name.strip() for group in groups for name in group.split(","))}


# -- names -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "expression"), [*expressions()], ids=[name for name, _ in expressions()])
def test_metrics_and_labels_are_those_that_are_documented(name, expression):
    used = series_of(expression)
    assert used and used <= set(SERIES)
    assert labels_of(expression) <= set().union(*(SERIES[one] for one in used))


def test_what_is_no_metric_or_no_label_is_found():
    assert series_of('sum by (shop) (rate(letsgo_sales_total{tea=~"a"}[5m]))') == {"letsgo_sales_total"}
    assert labels_of('sum by (shop, le) (rate(letsgo_sales_total{tea=~"a",cup!="b"}[5m]))') == {
        "shop", "le", "tea", "cup",
    }  # fmt: skip


def test_the_dashboard_shows_every_metric():
    assert {one for _, target in TARGETS for one in series_of(target["expr"])} == set(SERIES)


@pytest.mark.django_db(transaction=True)
def test_a_real_page_has_every_metric_and_every_label_of_them(manage):
    process = manage("runworker", "--with-scheduler", "--monitor", "0", settings_module=SETTINGS)
    site = Site(process)
    ScheduledJob.objects.create(name="tick", schedule="@every 1s", type="work:note", payload={"n": 0})
    dead = enqueue("work:note", "no number", max_attempts=1)
    ended = ArchivedMessage.objects.filter(type="work:note")
    wait_until(lambda: ended.filter(pk=dead.pk, outcome="dead"), what="a dead letter")
    wait_until(lambda: ended.filter(outcome="succeeded"), what="a planned time")

    def labels_by_name() -> dict[str, set[str]]:
        families = text_string_to_metric_families(site.get("/metrics")[1])
        return {one.name: set(one.labels) for family in families for one in family.samples}

    # Gauges of the database are read every five seconds.
    wait_until(lambda: set(SERIES) <= set(labels_by_name()), step=0.5, what="all metrics")
    assert {name: labels for name, labels in labels_by_name().items() if name in SERIES} == SERIES


# -- the dashboard -----------------------------------------------------------------------------------------


def test_each_panel_says_what_it_shows_and_legends_name_labels_that_are_left():
    for panel in PANELS:
        assert panel["title"] and panel["description"].endswith(".")
        assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
        for target in panel["targets"]:
            assert target["datasource"] == panel["datasource"]
            assert set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"])) <= labels_of(target["expr"])


def test_panels_have_numbers_of_their_own_and_none_covers_another():
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        at = panel["gridPos"]
        cells = {(at["x"] + x, at["y"] + y) for x in range(at["w"]) for y in range(at["h"])}
        assert at["x"] + at["w"] <= 24 and not cells & taken
        taken |= cells


def test_the_variables_are_used_and_there_are_no_others():
    text = json.dumps(DASHBOARD["panels"])
    named = {variable["name"] for variable in DASHBOARD["templating"]["list"]}
    used = set(re.findall(r"\$\{?(\w+)", text)) - {"__rate_interval"}
    assert used == named == {"datasource", "queue"}


@needs_promtool
def test_prometheus_can_read_what_the_dashboard_asks(tmp_path):
    asked = [
        target["expr"].replace("$__rate_interval", "5m").replace("$queue", ".*") for _, target in TARGETS
    ]
    rules = [{"record": f"panel:{n}", "expr": expression} for n, expression in enumerate(asked)]
    file = tmp_path / "panels.yml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": rules}]}))
    done = promtool("check", "rules", file)
    assert f"{len(asked)} rules found" in done


# -- alerts ------------------------------------------------------------------------------------------------


def promtool(*arguments: object) -> str:
    command = ["promtool", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@needs_promtool
def test_promtool_finds_nothing_wrong_with_the_rules():
    assert f"{len(ALERTS)} rules found" in promtool("check", "rules", RULES)


TESTS = ROOT / "tests" / "monitor" / "letsgo.rules.test.yml"


@needs_promtool
def test_each_alert_fires_when_it_should_and_only_then(tmp_path):
    file = tmp_path / "tests.yml"
    file.write_text(TESTS.read_text().replace("RULES", str(RULES)))
    assert "SUCCESS" in promtool("test", "rules", file)


def test_each_alert_is_tried_firing_and_quiet():
    tried = [
        (case["alertname"], bool(case["exp_alerts"]))
        for group in yaml.safe_load(TESTS.read_text())["tests"]
        for case in group["alert_rule_test"]
    ]
    assert set(tried) == {(name, fires) for name in ALERTS for fires in (True, False)}


@pytest.mark.parametrize("name", ALERTS)
def test_an_alert_says_what_to_run_and_where_to_read_on(name):
    alert = ALERTS[name]
    assert alert["labels"]["severity"] in ("critical", "warning")
    assert set(alert["annotations"]) == {"summary", "command", "runbook"}
    assert set(re.findall(r"\$labels\.(\w+)", alert["annotations"]["summary"])) <= labels_of(alert["expr"])

    program, command, *arguments = alert["annotations"]["command"].split()
    assert program == "manage.py"
    parser = load_command_class(get_commands()[command], command).create_parser("manage.py", command)
    parser.called_from_command_line = False
    parser.parse_args(arguments)

    page, _, anchor = alert["annotations"]["runbook"].partition("#")
    assert ROOT / page == PAGE
    assert anchor == name.lower() and anchor in anchors(PAGE)


def test_the_page_tells_of_each_alert_and_of_no_other():
    assert re.findall(r"^### (LetsGo\w+)$", PAGE.read_text(), re.MULTILINE) == list(ALERTS)


def test_numbers_that_every_process_tells_of_are_never_added_up():
    # Those that are read from the database: a sum would count them once for each process that serves them.
    shared = re.compile(r"letsgo_(queue_\w+|dead_letters|processes|schedules|schedule_next_run\w+|problems)")
    of_processes = re.compile(r"letsgo_\w+_total|letsgo_\w+_bucket|letsgo_seats\w*")
    for name, expression in expressions():
        for match in shared.finditer(expression):
            before = expression[: match.start()]
            assert re.search(r"(max( by \([^)]*\))? ?\(|absent\()$", before), (name, expression)
        for match in of_processes.finditer(expression):
            before = expression[: match.start()]
            assert "sum" in before and "max" not in before, (name, expression)
