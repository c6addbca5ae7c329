"""asyncjobs' `--monitor` (row A13): metrics and health over HTTP, from both commands."""

# ruff: noqa: N802  (a row is called by its id: L7, A3)

from __future__ import annotations

import re
from collections.abc import Callable

import httpx
import pytest

from django_letsgo_worker import schedules
from django_letsgo_worker.models import ArchivedMessage
from tests.support import Managed, wait_until

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def monitored(manage: Callable[..., Managed]) -> Callable[..., tuple[Managed, str]]:
    """Start a command with a monitor on any free port of this machine; return it and its address."""

    def start(*command: str, **env: str) -> tuple[Managed, str]:
        process = manage(*command, "--monitor", "0", env=env)
        line = process.wait_for_line("http://127.0.0.1:")
        return process, re.search(r"http://127\.0\.0\.1:\d+", line)[0]

    return start


def get(url: str) -> httpx.Response:
    return httpx.get(url, trust_env=False)


@pytest.mark.parametrize("command", ["runworker", "runscheduler"])
def test_A13_both_commands_say_how_they_are(monitored, command):
    process, url = monitored(command)

    wait_until(lambda: get(f"{url}/readyz").status_code == 200, what="ready")
    assert get(f"{url}/healthz").status_code == 200
    assert "letsgo_processes{" in get(f"{url}/metrics").text
    assert process.stop() == 0


def test_A13_the_counters_move_for_schedules_and_for_messages(monitored):
    schedules.add("stock", "@every 1s", "stock:check", {"article": "tea"})
    process, url = monitored("runworker", "--with-scheduler", LETSGO_WORKER_SCHEDULE="")
    wait_until(lambda: ArchivedMessage.objects.filter(type="stock:check").count() >= 2)

    def counted(pattern: str) -> float:
        found = re.search(rf"^{pattern} ([\d.]+)$", get(f"{url}/metrics").text, re.MULTILINE)
        return float(found[1]) if found else 0

    fired = r'letsgo_schedule_occurrences_total\{result="fired",schedule="stock"\}'
    attempts = r'letsgo_attempts_total\{outcome="succeeded",queue="default",type="stock:check"\}'
    wait_until(lambda: counted(fired) >= 2)
    wait_until(lambda: counted(attempts) >= 2)
    assert process.stop() == 0
