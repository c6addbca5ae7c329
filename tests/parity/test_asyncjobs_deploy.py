"""asyncjobs' containers, manifests and chart (row A14): ours hold, and start what they say.

Each file is read by a parser of its own kind, the chart by Helm, and the manifests by Kubernetes' schemas.
"""

# ruff: noqa: N802  (a row is called by its id: L7, A3)

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tomllib
from argparse import Namespace
from collections.abc import Callable, Iterable
from datetime import timedelta
from functools import partial

import httpx
import kubernetes_validate
import pytest
import yaml
from django.core.management import get_commands, load_command_class

from django_letsgo_worker import __version__, conf, enqueue, schedules
from django_letsgo_worker.models import ArchivedMessage, Message, Process
from django_letsgo_worker.monitor import health
from tests.deployments import (
    CHART,
    DEPLOY,
    UNITS,
    Program,
    chart,
    compose,
    instructions,
    manifests,
    of_compose,
    of_kubernetes,
    of_systemd,
    of_the_image,
    of_the_procfile,
    procfile,
    rendered,
    shell_words,
    unit,
)
from tests.support import ROOT, Managed, wait_until
from tests.testapp.models import Entry

TWO_GROUPS = [
    {"name": "orders", "queues": ["orders", "mails"], "replicas": 3, "concurrency": 16},
    {"name": "others", "processes": 2, "resources": {"limits": {"memory": "2Gi"}}},
]
# What is shown of the chart: as it is, and changed in whatever can be changed.
CHARTS = {
    "as it is": {},
    "changed": {
        "image": {"repository": "example/shop", "tag": "7"},
        "imagePullSecrets": [{"name": "example"}],
        "manage": ["python", "shop/manage.py"],
        "env": {"LETSGO_WORKER_LEASE_SECONDS": "60"},
        "workers": TWO_GROUPS,
        "scheduler": {"replicas": 3},
        "drainSeconds": 300,
        "monitor": {"port": 9200},
        "serviceAccountName": "shop",
        "nodeSelector": {"disk": "fast"},
        "tolerations": [{"key": "batch", "operator": "Exists"}],
    },
    "without schedulers": {"scheduler": {"replicas": 0}, "migrate": {"enabled": False}},
}
# Where manifests come from, and where commands do.
SOURCES: dict[str, Callable[[], list[dict]]] = {
    "kubernetes": manifests,
    **{f"chart {name}": partial(chart, **values) for name, values in CHARTS.items()},
}
PLACES: dict[str, Callable[[], Iterable[Program]]] = {
    "image": of_the_image,
    "compose": of_compose,
    "systemd": of_systemd,
    "procfile": of_the_procfile,
    **{name: lambda read=read: of_kubernetes(read()) for name, read in SOURCES.items()},
}
each_place = pytest.mark.parametrize("place", PLACES)
each_source = pytest.mark.parametrize("source", SOURCES)
COMMANDS = ("runworker", "runscheduler")
PAGES = ("/metrics", "/healthz", "/readyz")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def options_of(arguments: list[str]) -> Namespace:
    """What the command's own parser makes of its arguments; it raises for what it does not know."""
    name, *rest = arguments
    command = get_commands()[name]
    if isinstance(command, str):
        command = load_command_class(command, name)
    parser = command.create_parser("manage.py", name)
    parser.called_from_command_line = False
    return parser.parse_args(rest)


def in_motion(place: str) -> list[Program]:
    return [program for program in PLACES[place]() if program.arguments[0] in COMMANDS]


def of_kind(documents: list[dict], *kinds: str) -> list[dict]:
    return [document for document in documents if document["kind"] in kinds]


# -- all of them -----------------------------------------------------------------------------------------


@each_place
def test_A14_each_command_is_taken_by_its_own_parser(place):
    for program in PLACES[place]():
        options_of(program.arguments)


@each_place
def test_A14_a_stop_reaches_python_itself(place):
    # A Procfile's lines are run by a shell, which has to give way.
    first = "exec" if place == "procfile" else "python"
    for program in PLACES[place]():
        assert program.words[0].rpartition("/")[2] == first


# The image and the Procfile leave it to the platform.
@pytest.mark.parametrize("place", ["compose", "systemd", *SOURCES])
def test_A14_nobody_is_killed_while_it_drains(place):
    for program in in_motion(place):
        drain = conf.load({}, program.env).drain_seconds
        assert program.grace > drain


@pytest.mark.parametrize("place", ["compose", *SOURCES])
def test_A14_whoever_asks_the_monitor_finds_it(place):
    for program in in_motion(place):
        host, port = options_of(program.arguments).monitor
        assert program.asked
        for asked in program.asked:
            assert asked.path in PAGES
            assert asked.port == port
            assert host == "0.0.0.0" or not asked.from_outside


@each_place
def test_A14_what_is_set_is_a_setting_and_no_secret(place):
    for program in PLACES[place]():
        ours = [name for name in program.env if name.startswith("LETSGO_WORKER_")]
        assert {name.removeprefix("LETSGO_WORKER_") for name in ours} <= set(conf.KEYS)
        secret = [name for name in program.env if re.search(r"URL|KEY|SECRET|PASSWORD|TOKEN", name)]
        assert [name for name in secret if ":?" not in program.env[name]] == []


@each_place
def test_A14_worker_and_scheduler_are_both_there(place):
    here = {program.arguments[0] for program in in_motion(place)}
    assert here == ({"runworker"} if place in ("image", "chart without schedulers") else set(COMMANDS))


# -- the image, and Compose ------------------------------------------------------------------------------


def test_A14_the_image_is_made_of_what_is_here_and_is_not_roots():
    copies = [value.split() for value in instructions("COPY") if "--from" not in value]
    sources = [source for *those, _ in copies for source in those]
    let_in = (DEPLOY / "docker" / "Dockerfile.dockerignore").read_text().splitlines()
    assert [source for source in sources if not (ROOT / source).exists()] == []
    assert {f"!{source}" for source in sources} <= set(let_in)

    (extras,) = re.findall(r'pip install .*"\.\[(.+)\]"', "\n".join(instructions("RUN")))
    assert set(extras.split(",")) <= set(PROJECT["optional-dependencies"])
    assert int(instructions("USER")[-1].split(":")[0]) > 0


def test_A14_compose_migrates_first_and_has_two_schedulers():
    services = compose()
    assert services["migrate"]["depends_on"] == {"db": {"condition": "service_healthy"}}
    for name in ("site", "worker", "scheduler"):
        assert services[name]["depends_on"] == {"migrate": {"condition": "service_completed_successfully"}}
    assert services["scheduler"]["deploy"]["replicas"] == 2
    for service in services.values():
        assert "user" not in service
        assert "build" not in service or (service["read_only"] and service["cap_drop"] == ["ALL"])


# -- Kubernetes, and the chart ---------------------------------------------------------------------------


@each_source
@pytest.mark.parametrize("version", ["1.25", kubernetes_validate.latest_version()])
def test_A14_kubernetes_knows_every_field(source, version):
    for document in SOURCES[source]():
        kubernetes_validate.validate(document, version, strict=True)


@each_source
def test_A14_no_pod_is_roots_or_may_become_so(source):
    for document in of_kind(SOURCES[source](), "Deployment", "Job"):
        pod = document["spec"]["template"]["spec"]
        assert pod["securityContext"]["runAsNonRoot"] and pod["securityContext"]["runAsUser"] > 0
        assert not pod["automountServiceAccountToken"] and not pod["enableServiceLinks"]
        for container in pod["containers"]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }
            assert set(container["resources"]) >= {"limits"}
            assert container["envFrom"] == [{"secretRef": {"name": "shop"}}]


@each_source
def test_A14_only_readiness_asks_for_the_database(source):
    for document in of_kind(SOURCES[source](), "Deployment"):
        (container,) = document["spec"]["template"]["spec"]["containers"]
        probes = {kind: container[f"{kind}Probe"] for kind in ("startup", "liveness", "readiness")}
        paths = {kind: probe["httpGet"]["path"] for kind, probe in probes.items()}
        assert paths == {"startup": "/healthz", "liveness": "/healthz", "readiness": "/readyz"}
        assert probes["readiness"]["timeoutSeconds"] > health.PATIENCE


@each_source
def test_A14_a_rollout_or_a_drained_node_takes_one_pod_at_a_time(source):
    deployments = of_kind(SOURCES[source](), "Deployment")
    budgets = {
        each["metadata"]["name"]: each["spec"] for each in of_kind(SOURCES[source](), "PodDisruptionBudget")
    }
    assert len(budgets) == len(deployments) > 0
    for deployment in deployments:
        spec = deployment["spec"]
        selector = spec["selector"]
        assert selector["matchLabels"].items() <= spec["template"]["metadata"]["labels"].items()
        assert spec["strategy"]["rollingUpdate"] == {"maxSurge": 1, "maxUnavailable": 0}
        assert budgets[deployment["metadata"]["name"]] == {"maxUnavailable": 1, "selector": selector}
        spread = spec["template"]["spec"]["topologySpreadConstraints"]
        assert {each["topologyKey"].rpartition("/")[2] for each in spread} == {"hostname", "zone"}
        assert all(each["labelSelector"] == selector for each in spread)


def of_name(documents: list[dict], name: str) -> dict:
    return next(one["spec"] for one in of_kind(documents, "Deployment") if one["metadata"]["name"] == name)


def test_A14_there_are_two_schedulers_as_it_is():
    assert of_name(manifests(), "shop-scheduler")["replicas"] == 2
    assert of_name(chart(), "demo-scheduler")["replicas"] == 2


def test_A14_the_chart_has_a_deployment_for_each_group_of_queues():
    documents = chart(workers=TWO_GROUPS)
    orders, others = (
        options_of(program.arguments)
        for program in of_kubernetes(documents)
        if program.arguments[0] == "runworker"
    )
    assert (orders.queues, orders.concurrency) == (("orders", "mails"), 16)
    assert (others.queues, others.processes) == (None, 2)
    assert of_name(documents, "demo-orders")["replicas"] == 3
    (container,) = of_name(documents, "demo-others")["template"]["spec"]["containers"]
    assert container["resources"] == {"limits": {"memory": "2Gi"}}


@pytest.mark.parametrize(
    ("values", "left"),
    [
        ({}, {"demo-migrate", "demo-worker", "demo-scheduler"}),
        ({"scheduler": {"replicas": 0}}, {"demo-migrate", "demo-worker"}),
        ({"migrate": {"enabled": False}}, {"demo-worker", "demo-scheduler"}),
        ({"workers": []}, {"demo-migrate", "demo-scheduler"}),
    ],
)
def test_A14_the_chart_leaves_out_what_is_not_asked_for(values, left):
    assert {document["metadata"]["name"] for document in chart(**values)} == left


def test_A14_the_port_of_the_monitor_is_said_once():
    for program in of_kubernetes(chart(monitor={"port": 9200})):
        assert {asked.port for asked in program.asked} <= {9200}
        if program.arguments[0] in COMMANDS:
            assert options_of(program.arguments).monitor == ("0.0.0.0", 9200)


def test_A14_the_migrations_come_before_the_pods():
    (job,) = of_kind(chart(), "Job")
    assert job["metadata"]["annotations"]["helm.sh/hook"] == "pre-install,pre-upgrade"


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"wokers": []}, "'wokers' not allowed"),
        ({"workers": [{"name": "a", "queue": ["b"]}]}, "'queue' not allowed"),
        ({"workers": [{"name": "scheduler"}]}, "/workers/0/name"),
        ({"workers": [{"name": "a"}, {"name": "a"}]}, "Two workers are named a"),
        ({"scheduler": {"replicas": "two"}}, "want integer"),
        ({"monitor": {"port": 80}}, "/monitor/port"),
        ({"env": {"LETSGO_WORKER_DRAIN_SECONDS": "600"}}, "LETSGO_WORKER_DRAIN_SECONDS"),
    ],
)
def test_A14_the_chart_refuses_what_it_does_not_know(values, said):
    with pytest.raises(ValueError, match=re.escape(said)):
        chart(**values)


def test_A14_what_the_chart_says_at_the_end_can_be_typed():
    notes = rendered("{}")["django-letsgo-worker/templates/NOTES.txt"]
    target, *words = re.search(r"exec deployment/(\S+) -- (.+)", notes)[0].split()[1:]
    assert of_name(chart(), target.removeprefix("deployment/"))
    options_of(words[words.index("manage.py") + 1 :])


def test_A14_the_chart_is_of_this_version():
    assert yaml.safe_load((CHART / "Chart.yaml").read_text())["appVersion"] == __version__


# -- systemd, and the page that tells of all ---------------------------------------------------------------


@pytest.mark.parametrize("name", UNITS)
def test_A14_a_unit_tells_the_worker_alone_and_starts_it_again(name):
    service = unit(name)["Service"]
    assert service["User"] != "root"
    assert (service["KillMode"], service["KillSignal"]) == ("mixed", "SIGTERM")
    assert service["Restart"] == "always"
    assert service["EnvironmentFile"]


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="There is no systemd on this machine.")
@pytest.mark.parametrize("name", UNITS)
def test_A14_systemd_finds_nothing_wrong_with_a_unit(name, tmp_path):
    text = (DEPLOY / "systemd" / name).read_text().replace("/srv/shop/venv/bin/python", sys.executable)
    copy = tmp_path / name.replace("@", "@1")
    copy.write_text(text)
    found = subprocess.run(["systemd-analyze", "verify", copy], capture_output=True, text=True)
    assert (found.returncode, found.stderr) == (0, "")


def test_A14_the_page_tells_of_every_file():
    links = re.findall(r"\]\(([^)#]+)\)", (DEPLOY / "README.md").read_text())
    assert [link for link in links if not (DEPLOY / link).exists()] == []
    assert {link.split("/")[0] for link in links} >= {
        path.name for path in DEPLOY.iterdir() if path.name != "README.md"
    }


# -- as processes ------------------------------------------------------------------------------------------


class Started:
    """A process of the Procfile on a port of its own."""

    def __init__(self, process: Managed) -> None:
        self.process = process
        self.url = re.search(r"http://127\.0\.0\.1:\d+", process.wait_for_line("Monitor: "))[0]

    def get(self, path: str) -> httpx.Response:
        return httpx.get(f"{self.url}{path}", trust_env=False)

    def fired(self) -> float:
        counts = re.findall(
            r'^letsgo_schedule_occurrences_total{result="fired",.+} (\S+)$',
            self.get("/metrics").text,
            re.MULTILINE,
        )
        return sum(map(float, counts))

    def health_check(self) -> int:
        """The exit code of the health check in compose.yaml, asked at this port."""
        kind, python, *words = compose()["worker"]["healthcheck"]["test"]
        assert (kind, python) == ("CMD", "python")
        asked = [re.sub(r"http://[\d.:]+", self.url, word) for word in words]
        return subprocess.run([sys.executable, *asked], stderr=subprocess.DEVNULL).returncode


@pytest.fixture
def start(manage: Callable[..., Managed]) -> Callable[[str], Started]:
    """Start a line of the Procfile, and wait until it is ready."""

    def of_the_line(name: str) -> Started:
        words = shell_words(procfile()[name], PORT="0")
        arguments = Program(tuple(words)).arguments
        started = Started(
            manage(*arguments, settings_module="tests.testapp.settings", env={"LETSGO_WORKER_SCHEDULE": ""})
        )
        wait_until(lambda: started.get("/readyz").status_code == 200, what=f"a {name} that is ready")
        return started

    return of_the_line


@pytest.mark.django_db(transaction=True)
def test_A14_two_schedulers_are_active_together_and_either_may_be_stopped(start):
    jobs = [schedules.add(f"x{n}", "@every 1s", "t:x", misfire_grace=timedelta(hours=1)) for n in range(10)]
    first, second = start("scheduler"), start("scheduler")
    wait_until(lambda: Process.objects.filter(kind="scheduler", state="running").count() == 2)
    wait_until(lambda: first.fired() and second.fired(), what="runs fired by the one and by the other")

    assert first.process.stop() == 0
    known = second.fired()
    wait_until(lambda: second.fired() >= known + 2 * len(jobs), what="the second going on alone")
    assert second.process.stop() == 0

    for job in jobs:
        times = Message.objects.filter(scheduled_job_id=job.pk).order_by("planned_at")
        planned = [job.anchor + timedelta(seconds=n + 1) for n in range(len(times))]
        assert list(times.values_list("planned_at", flat=True)) == planned


@pytest.mark.django_db(transaction=True)
def test_A14_a_worker_that_is_stopped_finishes_what_it_has_begun_and_exits_with_0(start, tmp_path):
    gate = tmp_path / "gate"
    worker = start("worker")
    wait_until(lambda: Process.objects.filter(pid=worker.process.pid, state="running").exists())
    assert [page for page in PAGES if worker.get(page).status_code != 200] == []
    assert worker.health_check() == 0
    message = enqueue("work:hold", {"n": 1, "gate": str(gate)})
    wait_until(Entry.objects.exists)

    worker.process.terminate()
    wait_until(lambda: Process.objects.filter(state="draining").exists())
    assert worker.get("/readyz").status_code == 503
    assert worker.get("/healthz").status_code == 200
    assert worker.health_check() != 0
    gate.touch()

    assert worker.process.wait() == 0
    assert ArchivedMessage.objects.get(pk=message.pk).outcome == "succeeded"
    assert Process.objects.get().state == "stopped"
