"""script/journeys, which counts through how many files a value goes, still finds its way."""

from __future__ import annotations

import os
import subprocess
import sys

from tests.support import ROOT


def test_each_journey_is_counted():
    done = subprocess.run(
        [sys.executable, ROOT / "script" / "journeys"],
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    rows = [row.strip("| ").split("|") for row in done.stdout.splitlines()[2:]]
    assert [row[0].split("(")[0].strip() for row in rows] == [
        "enqueue",
        "a seat: a plain delivery",
        "a seat: an atomic delivery",
        "the worker's loop, one message, --until-empty",
        "ScheduledJob.save",
        "fire_due",
    ]
    for _journey, *figures in rows:
        calls, functions, files, stays = map(int, figures)
        assert calls >= functions > files > 1
        assert stays >= files
