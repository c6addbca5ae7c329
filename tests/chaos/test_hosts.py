"""Hosts of a site that are cut off, far away, or have wrong clocks: what script/hosts tries, in short.

1. Nothing is lost or early, and nothing is doubled of which that is promised.
2. What a host held that was cut off runs elsewhere after its lease; the schedules go on.
3. Hosts that come back work again, by themselves.
C. Without the transaction, effects are doubled and 1 breaks. Where nobody notices silence, 2 breaks.

Only root can make hosts, and only on Linux: elsewhere these tests are skipped.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from tests.support import ROOT

from .hosts.__main__ import SKIPPED

pytestmark = pytest.mark.timeout(300)

ELSEWHERE = "what w1 held when it was cut off ran elsewhere after its lease"


@pytest.fixture(autouse=True)
def on_postgresql(engine):
    if engine != "postgres":
        pytest.skip("A site with several hosts has a PostgreSQL.")


def try_hosts(*arguments: str) -> tuple[int, list[str]]:
    """Run the trial; return its exit code, and the promises that were broken."""
    with tempfile.TemporaryDirectory() as logs:
        command = [sys.executable, "-m", "tests.chaos.hosts", "--logs", logs, *arguments]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
        print(done.stdout, done.stderr)
        for log in sorted(Path(logs).iterdir()):
            print(f"-- the end of what {log.name} wrote\n{log.read_text()[-2000:]}")
    if done.returncode == SKIPPED:
        pytest.skip(done.stdout.strip())
    lines = [line.removeprefix("BROKEN").strip() for line in done.stdout.splitlines() if "BROKEN" in line]
    return done.returncode, [line.partition(":")[0] for line in lines]


def test_hosts_that_are_cut_off_lose_double_and_hold_up_nothing():
    assert try_hosts("--cut", "w1", "s1", "s2") == (0, [])


def test_without_the_transaction_effects_are_doubled():
    broken = ["effects of atomic handlers are exactly once"]
    assert try_hosts("--cut", "w1", "--without", "the transaction") == (1, broken)


def test_where_nobody_notices_silence_a_server_keeps_what_a_lost_host_had_locked():
    code, broken = try_hosts("--cut", "w1", "--without", "the notice of silence")
    assert code == 1
    assert ELSEWHERE in broken
