"""Behind PgBouncer, where each transaction may have another session: nothing may rely on one."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.db import DatabaseError, connection, connections, transaction

from django_letsgo_worker import enqueue
from django_letsgo_worker.engines.postgresql import fastpath
from django_letsgo_worker.models import ArchivedMessage, Message
from tests.support import database_url, wait_until
from tests.testapp.models import Effect

PGBOUNCER = shutil.which("pgbouncer", path=f"{os.environ['PATH']}:/usr/sbin")

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif(connection.vendor != "postgresql", reason="It is for PostgreSQL."),
    pytest.mark.skipif(PGBOUNCER is None, reason="PgBouncer is not installed."),
]

SETTINGS = """
[databases]
* = host={host} port={port} user={user} {password}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {listen_port}
unix_socket_dir =
auth_type = any
pool_mode = transaction
default_pool_size = 10
{more}
"""


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as unused:
        return unused.getsockname()[1]


def answers(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture(
    params=["", "ignore_startup_parameters = options"], ids=["refuses options", "ignores options"]
)
def pooled(request: pytest.FixtureRequest) -> Iterator[dict]:
    """The settings of the test database behind a PgBouncer of its own."""
    direct = connection.settings_dict
    port = free_port()
    with tempfile.TemporaryDirectory() as home:
        ini = Path(home) / "pgbouncer.ini"
        ini.write_text(
            SETTINGS.format(
                host=direct["HOST"] or "127.0.0.1",
                port=direct["PORT"] or 5432,
                user=direct["USER"] or "postgres",
                password=f"password={direct['PASSWORD']}" if direct["PASSWORD"] else "",
                listen_port=port,
                more=request.param,
            )
        )
        Path(home).chmod(0o755)
        # It refuses to run as root.
        user = "nobody" if os.getuid() == 0 else None
        process = subprocess.Popen([PGBOUNCER, "-q", str(ini)], user=user, stderr=subprocess.DEVNULL)
        try:
            wait_until(lambda: answers(port), what="PgBouncer to listen")
            yield {**direct, "HOST": "127.0.0.1", "PORT": str(port)}
        finally:
            process.terminate()
            process.wait()


@pytest.fixture
def through_the_pooler(pooled: dict) -> Iterator[None]:
    """This thread's own connection, behind PgBouncer."""
    direct = connection.settings_dict
    connection.close()
    connection.settings_dict = pooled
    yield
    connection.close()
    connection.settings_dict = direct


def enqueue_while_somebody_takes_the_session(pooled: dict) -> None:
    """PgBouncer gives the session that was free last: a transaction next door takes the one just used.

    With a key and without: the statement of a message without one is prepared again where it is missing.
    """
    other = connections.create_connection("default")
    other.settings_dict = pooled
    try:
        for n in range(8):
            enqueue("work:note", {"n": n})
            enqueue("work:note", {"n": n}, unique_key=f"{n}, before")
            other.set_autocommit(False)
            with other.cursor() as cursor:
                cursor.execute("SELECT 1")
            enqueue("work:note", {"n": n})
            enqueue("work:note", {"n": n}, unique_key=f"{n}, meanwhile")
            other.rollback()
            other.set_autocommit(True)
    finally:
        other.close()


def test_messages_are_enqueued_whatever_session_a_statement_gets(through_the_pooler, pooled):
    enqueue_while_somebody_takes_the_session(pooled)

    assert Message.objects.count() == 32


@pytest.mark.fastpath
def test_control_a_statement_that_stays_prepared_is_missing_in_another_session(
    through_the_pooler, pooled, monkeypatch
):
    monkeypatch.setattr(fastpath, "is_direct", lambda connection: True)

    with pytest.raises(DatabaseError, match="prepared statement"):
        enqueue_while_somebody_takes_the_session(pooled)


def test_workers_handle_plain_and_atomic_messages(pooled, manage):
    with transaction.atomic():
        notes = [enqueue("work:note", {"n": n}).pk for n in range(100)]
        effects = [enqueue("work:effect", {"n": n}).pk for n in range(20)]

    worker = manage(
        "runworker",
        "--until-empty",
        env={"DATABASE_URL": database_url(pooled)},
        settings_module="tests.testapp.settings",
    )

    assert worker.wait() == 0
    done = ArchivedMessage.objects.filter(outcome="succeeded").values_list("pk", flat=True)
    assert sorted(done) == sorted(notes + effects)
    assert sorted(effect.n for effect in Effect.objects.all()) == list(range(20))
