"""Hosts as Linux network namespaces, each on a port of one switch; the database is on the machine itself.

A host that is cut off hears nothing and is told nothing: the switch drops its frames. No connection is reset,
no address turns out to be unknown. A host that is far away has a cable that takes its time.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from .cable import without_offloads

# Addresses that are set aside for measuring networks: nobody's.
NETWORK, SERVER = "198.18.77.0/24", "198.18.77.254"
WORKERS, SCHEDULERS = ("w1", "w2", "w3"), ("s1", "s2")
# How much longer a round trip from here is, in seconds.
FAR_AWAY = {"w3": 0.02}
SWITCH, SWITCH_HARDWARE = "letsgo-switch", "02:00:00:00:00:fe"
PREFIX = "letsgo-"
LOCK = Path("/tmp/letsgo-hosts.lock")
# States of a bridge's port.
DISABLED, FORWARDING = 0, 3


def why_not() -> str:
    """Say in one sentence why hosts cannot be made here; nothing if they can."""
    if sys.platform != "linux":
        return "Hosts are made of network namespaces, which only Linux has."
    if missing := [name for name in ("ip", "bridge", "cc") if not shutil.which(name)]:
        return f"Hosts need the programs {', '.join(missing)}, which are not here: install iproute2 and gcc."
    tried = subprocess.run(["ip", "netns", "add", f"{PREFIX}try"], capture_output=True, text=True)
    subprocess.run(["ip", "netns", "delete", f"{PREFIX}try"], capture_output=True)
    if tried.returncode:
        return f"Network namespaces cannot be made here, which takes root's rights: {tried.stderr.strip()}"
    return ""


class Host:
    """A namespace with one address, and the port of the switch that leads to it."""

    def __init__(self, name: str, number: int, *, far_away: float = 0.0) -> None:
        self.name, self.namespace, self.port = name, f"{PREFIX}{name}", f"{PREFIX}{name}"
        self.address, self.hardware = f"198.18.77.{number}", f"02:00:00:00:00:{number:02x}"
        # By how many seconds a round trip to the server is longer.
        self.far_away = far_away
        self._cable: subprocess.Popen[bytes] | None = None

    @property
    def inside(self) -> list[str]:
        """What stands before a command that is to run on this host."""
        return ["ip", "netns", "exec", self.namespace]

    def plug_in(self) -> None:
        call("ip netns add", self.namespace)
        call(*self.inside, "ip link set lo up")
        if self.far_away:
            self._lay_cable()
        else:
            call("ip link add", self.port, "type veth peer name eth0 netns", self.namespace)
        call("ip link set", self.port, "master", SWITCH, "up")
        call(*self.inside, "ip link set eth0 address", self.hardware, "up")
        call(*self.inside, f"ip address add {self.address}/24 dev eth0")
        # Known for ever: silence must not turn into "no route to host", which a program is told at once.
        call(*self.inside, "ip neigh replace", SERVER, "lladdr", SWITCH_HARDWARE, "dev eth0 nud permanent")
        call("ip neigh replace", self.address, "lladdr", self.hardware, "dev", SWITCH, "nud permanent")

    def _lay_cable(self) -> None:
        """Lead to the port through a process that carries each frame as late as it should be."""
        ends = [f"lg-{self.name}-a", f"lg-{self.name}-b"]
        call("ip link add", ends[0], "type veth peer name eth0 netns", self.namespace)
        call("ip link add", self.port, "type veth peer name", ends[1])
        for end in ends:
            call("ip link set", end, "up")
        without_offloads(self.port)
        call(*self.inside, sys.executable, "-m tests.chaos.hosts.cable eth0")
        cable = [sys.executable, "-m", "tests.chaos.hosts.cable", *ends, str(self.far_away / 2)]
        # It ends with its input, and so with us.
        self._cable = subprocess.Popen(cable, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert self._cable.stdout is not None
        assert self._cable.stdout.readline(), "The cable has no ends."

    def cut_off(self) -> None:
        call("bridge link set dev", self.port, f"state {DISABLED}")

    def join(self) -> None:
        call("bridge link set dev", self.port, f"state {FORWARDING}")

    def unplug(self) -> None:
        if self._cable is not None:
            self._cable.communicate()


def make_hosts() -> dict[str, Host]:
    """Return three hosts of workers, one of them far away, two of schedulers, and the site's."""
    names = ("site", *WORKERS, *SCHEDULERS)
    return {name: Host(name, n, far_away=FAR_AWAY.get(name, 0.0)) for n, name in enumerate(names, 1)}


@contextlib.contextmanager
def switched(hosts: Sequence[Host]) -> Iterator[None]:
    """Plug all hosts into the switch, one network at a time on this machine; leave nothing of it behind."""
    with LOCK.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        sweep()
        try:
            call("ip link add", SWITCH, "address", SWITCH_HARDWARE, "type bridge")
            call(f"ip address add {SERVER}/24 dev", SWITCH)
            call("ip link set", SWITCH, "up")
            for host in hosts:
                host.plug_in()
            yield
        finally:
            for host in hosts:
                host.unplug()
            sweep()


def sweep() -> None:
    """End and remove all that a run made, also one that was killed."""
    listed = subprocess.run(["ip", "netns", "list"], capture_output=True, text=True).stdout
    for namespace in (line.split()[0] for line in listed.splitlines() if line.startswith(PREFIX)):
        inside = subprocess.run(["ip", "netns", "pids", namespace], capture_output=True, text=True).stdout
        for pid in map(int, inside.split()):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        # With the namespace its end of the cable goes, and so does the other one.
        call("ip netns delete", namespace)
    for link in (SWITCH, *(path.name for path in Path("/sys/class/net").glob("l*g*-*"))):
        if link.startswith((PREFIX, "lg-")):
            subprocess.run(["ip", "link", "delete", link], capture_output=True)


def call(*words: str) -> None:
    """Run a command of iproute2; the words may hold several each."""
    command = " ".join(words).split()
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip()}")
