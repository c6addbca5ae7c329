"""Processes that the benchmark starts, and what Linux says about them: CPU, memory.

Nothing here knows what is measured.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent.parent
PROC = Path("/proc")
PATIENCE = 60.0
TICKS = os.sysconf("SC_CLK_TCK")


class Started:
    """A process in a session of its own, so that its children end with it; it writes into a log."""

    def __init__(self, command: list[str], environment: Mapping[str, str], log: Path, **pipes: Any) -> None:
        self.log = log
        with log.open("ab") as output:
            self.process = subprocess.Popen(
                command,
                cwd=ROOT,
                env={**os.environ, "PYTHONUNBUFFERED": "1", **environment},
                stdin=pipes.get("stdin", subprocess.DEVNULL),
                stdout=pipes.get("stdout", output),
                stderr=output,
                start_new_session=True,
                text=True,
            )

    @property
    def pid(self) -> int:
        return self.process.pid

    def check(self) -> None:
        """Raise when it has ended."""
        if (code := self.process.poll()) is not None:
            raise RuntimeError(f"A process ended with {code}: {self.log.name}")

    def last_words(self) -> str:
        return self.log.read_text(errors="replace")[-1_500:]

    def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()


class ClientProcess:
    """The process of client.py, driven by verbs."""

    def __init__(self, arguments: list[str], environment: Mapping[str, str], log: Path) -> None:
        command = [sys.executable, "-m", "tests.benchmarks.client", *arguments]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        self.started = Started(command, environment, log, **pipes)

    def begin(self, verb: str, **arguments: Any) -> None:
        """Ask for something; answer() waits until it is done."""
        stdin = self.started.process.stdin
        assert stdin is not None
        stdin.write(json.dumps([verb, arguments]) + "\n")
        stdin.flush()

    def answer(self) -> dict[str, Any]:
        stdout = self.started.process.stdout
        assert stdout is not None
        line = stdout.readline()
        if not line:
            self.started.process.wait()
            self.started.check()
        answer: dict[str, Any] = json.loads(line)
        return answer

    def do(self, verb: str, **arguments: Any) -> dict[str, Any]:
        self.begin(verb, **arguments)
        return self.answer()

    def kill(self) -> None:
        self.started.kill()


def wait_until(
    condition: Callable[[], Any], what: str, *, timeout: float = PATIENCE, step: float = 0.01
) -> None:
    give_up = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > give_up:
            raise TimeoutError(f"Waited {timeout:g} s in vain for {what}.")
        time.sleep(step)


def family(pid: int) -> list[int]:
    """Return a process and all its descendants."""
    children: dict[int, list[int]] = {}
    for path in PROC.glob("[0-9]*"):
        if fields := stat(int(path.name)):
            children.setdefault(int(fields[1]), []).append(int(path.name))
    found = [pid]
    for one in found:
        found.extend(children.get(one, []))
    return found


def cpu_seconds(pid: int) -> float:
    """Return the CPU that a process, its descendants and those of them that have ended used."""
    ticks = 0
    for one in family(pid):
        if fields := stat(one):
            ticks += sum(int(field) for field in fields[11:15])  # utime, stime, cutime, cstime
    return ticks / TICKS


def peak_megabytes(pid: int) -> float:
    """Return the peak of resident memory, added up over a process and its descendants."""
    kilobytes = 0
    for one in family(pid):
        with contextlib.suppress(OSError):
            status = (PROC / str(one) / "status").read_text()
            kilobytes += sum(int(row.split()[1]) for row in status.splitlines() if row.startswith("VmHWM"))
    return kilobytes / 1024


def stat(pid: int) -> list[str]:
    """Return the fields of /proc/PID/stat from the state on; nothing when the process is gone."""
    try:
        return (PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []
