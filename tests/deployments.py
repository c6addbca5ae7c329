"""The files of deploy/, read as the programs that they are for read them, and the commands that they start.

What must hold of them, the tests say.
"""

from __future__ import annotations

import configparser
import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from importlib.util import find_spec
from typing import Any

import pytest
import yaml
from compose_spec import PyCompose
from dockerfile_parse import DockerfileParser

from tests.support import ROOT

DEPLOY = ROOT / "deploy"
CHART = DEPLOY / "helm" / "django-letsgo-worker"

# By a process of its own: Helm is a library in Go, with threads and signal handlers.
RENDER = """
import json, sys, helm_python
chart, values = sys.argv[1], json.loads(sys.argv[2])
findings = helm_python.lint(chart, values)
with helm_python.Chart.load(chart) as loaded:
    print(json.dumps([findings["errors"], loaded.render(values, name="demo", namespace="shop")]))
"""


@dataclass(frozen=True)
class Asked:
    """A page of the monitor that somebody asks for, from within the container or from outside."""

    path: str
    port: int
    from_outside: bool


@dataclass(frozen=True)
class Program:
    """A command of a file, and what surrounds it there."""

    words: tuple[str, ...]
    env: dict[str, str] = field(default_factory=dict)
    # Seconds from SIGTERM to SIGKILL.
    grace: float | None = None
    asked: tuple[Asked, ...] = ()

    @property
    def arguments(self) -> list[str]:
        """What stands behind manage.py."""
        at = next(n for n, word in enumerate(self.words) if word.endswith("manage.py"))
        return list(self.words[at + 1 :])


# -- files -----------------------------------------------------------------------------------------------


@cache
def dockerfile() -> DockerfileParser:
    return DockerfileParser(path=str(DEPLOY / "docker" / "Dockerfile"))


def instructions(name: str) -> list[str]:
    """What stands behind this instruction of the Dockerfile, wherever it is used."""
    return [step["value"] for step in dockerfile().structure if step["instruction"] == name]


@cache
def compose() -> dict[str, Any]:
    """The services of compose.yaml; a key that Compose does not know is an error."""
    read = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
    PyCompose.from_json(json.dumps(read))
    return read["services"]


@cache
def manifests() -> list[dict[str, Any]]:
    files = sorted((DEPLOY / "kubernetes").glob("*.yaml"))
    return [document for file in files for document in yaml.safe_load_all(file.read_text())]


def chart(**values: Any) -> list[dict[str, Any]]:
    """What Helm makes of the chart with these values."""
    files = rendered(json.dumps(values)).items()
    texts = [text for name, text in files if not name.endswith("NOTES.txt")]
    return [document for text in texts for document in yaml.safe_load_all(text) if document]


@cache
def rendered(values: str) -> dict[str, str]:
    """Each template of the chart as text, by Helm itself, which has found nothing wrong."""
    if find_spec("helm_python") is None:
        pytest.skip("Helm's library has no wheel for this machine.")
    helm = subprocess.run([sys.executable, "-c", RENDER, CHART, values], capture_output=True, text=True)
    if helm.returncode:
        raise ValueError(helm.stderr)
    errors, files = json.loads(helm.stdout)
    assert errors == []
    return files


@cache
def unit(name: str) -> configparser.ConfigParser:
    read = configparser.ConfigParser(interpolation=None)
    read.optionxform = str
    read.read(DEPLOY / "systemd" / name)
    return read


UNITS = sorted(path.name for path in (DEPLOY / "systemd").iterdir())


@cache
def procfile() -> dict[str, str]:
    return dict(re.findall(r"^([\w-]+): (.+)$", (DEPLOY / "Procfile").read_text(), re.MULTILINE))


def shell_words(command: str, **env: str) -> list[str]:
    """The words that a shell makes of a command."""
    script = f'set -- {command}\nfor word; do echo "$word"; done'
    return subprocess.check_output(
        ["sh", "-c", script], env={"PATH": os.environ["PATH"], **env}, text=True
    ).splitlines()


# -- the commands in them --------------------------------------------------------------------------------


def of_the_image() -> Iterator[Program]:
    command = [word for name in ("ENTRYPOINT", "CMD") for word in json.loads(instructions(name)[-1])]
    yield Program(tuple(command), dockerfile().envs)


def of_compose() -> Iterator[Program]:
    for service in compose().values():
        if "build" not in service:
            continue
        check = service.get("healthcheck", {"test": [""]})["test"][-1]
        pages = re.findall(r"http://127\.0\.0\.1:(\d+)(/\w+)", check)
        yield Program(
            (*json.loads(instructions("ENTRYPOINT")[-1]), *service["command"]),
            service["environment"],
            float(service["stop_grace_period"].removesuffix("s")) if "stop_grace_period" in service else None,
            tuple(Asked(path, int(port), from_outside=False) for port, path in pages),
        )


def of_kubernetes(documents: list[dict[str, Any]]) -> Iterator[Program]:
    for document in documents:
        if document["kind"] not in ("Deployment", "Job"):
            continue
        template = document["spec"]["template"]
        pod, (container,) = template["spec"], template["spec"]["containers"]
        yield Program(
            (*container["command"], *container["args"]),
            {variable["name"]: variable["value"] for variable in container.get("env", [])},
            pod.get("terminationGracePeriodSeconds"),
            tuple(asked_of(container, template["metadata"].get("annotations", {}))),
        )


def asked_of(container: dict[str, Any], annotations: dict[str, str]) -> Iterator[Asked]:
    ports = {port["name"]: port["containerPort"] for port in container.get("ports", [])}
    for kind in ("startupProbe", "livenessProbe", "readinessProbe"):
        if kind in container:
            asks = container[kind]["httpGet"]
            yield Asked(asks["path"], ports[asks["port"]], from_outside=True)
    if annotations:
        yield Asked(
            annotations["prometheus.io/path"], int(annotations["prometheus.io/port"]), from_outside=True
        )


def of_systemd() -> Iterator[Program]:
    for name in UNITS:
        service = unit(name)["Service"]
        env = dict(pair.split("=", 1) for pair in shlex.split(service.get("Environment", "")))
        command = service["ExecStart"].replace("%H", "host").replace("%i", "1")
        yield Program(tuple(shlex.split(command)), env, float(service["TimeoutStopSec"]))


def of_the_procfile() -> Iterator[Program]:
    for command in procfile().values():
        yield Program(tuple(shell_words(command)))
