"""What was measured on: the machine, its disk's flushes, the versions of everything.

No names, no paths: what another machine must have to be like this one.
"""

from __future__ import annotations

import os
import platform
import sqlite3
import tempfile
import time
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from .contestants import Contestant

SHOWN = ("server_version", "fsync", "synchronous_commit", "full_page_writes", "shared_buffers")


def describe(contestants: Sequence[Contestant], connection: Any) -> dict[str, Any]:
    """Return the facts; `connection` is one to the PostgreSQL server, if there is one."""
    distributions = {"Django", *(one.distribution for one in contestants)} - {""}
    return {
        "cpu": f"{os.cpu_count()} x {cpu_model()}",
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "kernel": f"{platform.system()} {platform.release()}",
        "flushes_per_second": round(flushes_per_second()),
        "load_average": os.getloadavg()[0],
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
        "postgres": {name: connection.execute(f"SHOW {name}").fetchone()[0] for name in SHOWN}
        if connection
        else {},
        "versions": {name: version_of(name) for name in sorted(distributions, key=str.lower)},
    }


def cpu_model() -> str:
    rows = Path("/proc/cpuinfo").read_text().splitlines()
    names = [row.partition(":")[2].strip() for row in rows if row.startswith("model name")]
    return names[0] if names else platform.machine()


def flushes_per_second(seconds: float = 0.5) -> float:
    """Return how often a small write can be made durable, one after the other, where databases are kept."""
    with tempfile.TemporaryFile() as file:
        number, begun = 0, time.monotonic()
        while (passed := time.monotonic() - begun) < seconds:
            os.pwrite(file.fileno(), b"x" * 8192, 0)
            os.fdatasync(file.fileno())
            number += 1
    return number / passed


def version_of(distribution: str) -> str:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return "?"
