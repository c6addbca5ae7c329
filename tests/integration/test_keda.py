"""deploy/keda/worker.yaml: KEDA's own fields, and a query by which what runs keeps its pods."""

from __future__ import annotations

import math

import pytest
import yaml
from django.db import connection

from django_letsgo_worker import conf, enqueue
from django_letsgo_worker.engines import engine_for
from tests.conformance.conftest import Worker
from tests.deployments import DEPLOY, manifests, of_kubernetes
from tests.parity.test_asyncjobs_deploy import options_of

AUTHENTICATION, SCALED = yaml.safe_load_all((DEPLOY / "keda" / "worker.yaml").read_text())
(TRIGGER,) = SCALED["spec"]["triggers"]
DEPLOYMENT = next(
    one for one in manifests() if (one["kind"], one["metadata"]["name"]) == ("Deployment", "shop-worker")
)


def seats_of_a_pod() -> int:
    (program,) = of_kubernetes([DEPLOYMENT])
    options = options_of(program.arguments)
    return conf.load({}, program.env).concurrency * (options.processes or 1)


def test_the_fields_are_those_of_keda():
    assert [one["apiVersion"] for one in (AUTHENTICATION, SCALED)] == ["keda.sh/v1alpha1"] * 2
    assert (AUTHENTICATION["kind"], SCALED["kind"]) == ("TriggerAuthentication", "ScaledObject")
    (secret,) = AUTHENTICATION["spec"]["secretTargetRef"]
    assert set(secret) == {"parameter", "name", "key"} and secret["parameter"] == "connection"
    assert set(SCALED["spec"]) == {
        "scaleTargetRef", "minReplicaCount", "maxReplicaCount", "pollingInterval", "cooldownPeriod",
        "advanced", "triggers",
    }  # fmt: skip
    assert set(TRIGGER) == {"type", "metricType", "metadata", "authenticationRef"}
    assert (TRIGGER["type"], TRIGGER["metricType"]) == ("postgresql", "AverageValue")
    # KEDA takes texts only.
    assert {name: type(value) for name, value in TRIGGER["metadata"].items()} == dict.fromkeys(
        ("query", "targetQueryValue", "activationTargetQueryValue"), str
    )
    assert TRIGGER["authenticationRef"] == {"name": AUTHENTICATION["metadata"]["name"]}
    behaviour = SCALED["spec"]["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]["scaleDown"]
    assert set(behaviour) == {"stabilizationWindowSeconds", "policies"}


def test_it_scales_the_deployment_of_the_manifests_by_the_seats_of_its_pods():
    assert SCALED["spec"]["scaleTargetRef"] == {"name": DEPLOYMENT["metadata"]["name"]}
    assert SCALED["metadata"]["labels"] == DEPLOYMENT["metadata"]["labels"]
    assert int(TRIGGER["metadata"]["targetQueryValue"]) == seats_of_a_pod()


@pytest.mark.django_db(transaction=True)
def test_what_runs_keeps_its_pods_when_nothing_waits_any_more():
    if connection.vendor != "postgresql":
        pytest.skip("The file is for PostgreSQL.")

    def asked() -> int:
        with connection.cursor() as cursor:
            cursor.execute(TRIGGER["metadata"]["query"])
            ((number,),) = cursor.fetchall()
        assert isinstance(number, int)
        return number

    def pods() -> int:
        return math.ceil(asked() / int(TRIGGER["metadata"]["targetQueryValue"]))

    assert asked() == pods() == 0
    for _ in range(20):
        enqueue("job")
    enqueue("job", delay=30)
    enqueue("job", delay=3600)
    assert (asked(), pods()) == (21, 3)

    Worker().claim(free=20)
    depth = [lane for lane in engine_for("default").lanes() if not lane.due_in]
    assert depth == []
    assert (asked(), pods()) == (21, 3)
