"""A server or a host that is gone without a word: both sides of our connections notice it within the lease.

1. Both sides of the workers' own connections, of those of handlers, and of a scheduler's are told so.
2. They notice within five sixths of the lease, and within 25 seconds if it is longer.
3. What a project has set itself stands; a session that a pooler lends is left alone.

That it is noticed shows tests/chaos/test_hosts.py, which cuts hosts off.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from threading import Thread

import pytest
from django.db import connection, connections

from django_letsgo_worker.engines import adopt_own_connection, engine_for
from django_letsgo_worker.engines.postgresql import silence
from django_letsgo_worker.scheduler import Scheduler
from django_letsgo_worker.worker.isolation import ConnectionKeeper

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif(connection.vendor != "postgresql", reason="It is for PostgreSQL."),
    pytest.mark.skipif(
        str(connection.settings_dict["HOST"]).startswith("/"), reason="It is about connections of TCP."
    ),
]

# As it is told to the server, and to the client's own system.
TOLD = {"tcp_keepalives_idle": "10", "tcp_keepalives_interval": "5", "tcp_keepalives_count": "3"}
SOCKET = {"TCP_KEEPIDLE": 10, "TCP_KEEPINTVL": 5, "TCP_KEEPCNT": 3, "TCP_USER_TIMEOUT": 25_000}


@pytest.fixture(autouse=True)
def own_connection() -> Iterator[None]:
    """What is told to this thread's connection is forgotten after the test."""
    before = connections["default"]
    connections["default"] = connections.create_connection("default")
    yield
    connections["default"].close()
    connections["default"] = before


def told_to_server() -> dict[str, str]:
    with connections["default"].cursor() as cursor:
        cursor.execute("SELECT name, setting FROM pg_settings WHERE name LIKE 'tcp_%%'")
        return dict(cursor.fetchall())


def told_to_client() -> dict[str, int]:
    connections["default"].ensure_connection()
    with socket.socket(fileno=os.dup(connections["default"].connection.fileno())) as line:
        return {name: line.getsockopt(socket.IPPROTO_TCP, getattr(socket, name)) for name in SOCKET}


def schedule_once() -> None:
    scheduler = Scheduler("s")
    scheduler.stop.set()
    scheduler.run()


@pytest.mark.parametrize(
    "take",
    [lambda: adopt_own_connection("default"), ConnectionKeeper, schedule_once],
    ids=["a worker's own", "a handler's", "a scheduler's"],
)
def test_both_sides_notice_within_25_seconds(take):
    # What is open already was opened without.
    connections["default"].ensure_connection()
    connections["default"].close()
    take()

    assert told_to_server() == TOLD | {"tcp_user_timeout": "25000"}
    assert told_to_client() == SOCKET


def test_others_connections_are_left_alone():
    def ask() -> None:
        answers.append(told_to_server())
        connections.close_all()

    answers: list[dict[str, str]] = []
    adopt_own_connection("default")
    thread = Thread(target=ask)
    thread.start()
    thread.join()
    assert answers[0]["tcp_user_timeout"] == "0"


@pytest.mark.parametrize("lease", [6, 10, 30, 3600])
def test_it_is_noticed_within_the_lease(settings, lease):
    settings.LETSGO_WORKER = {"LEASE_SECONDS": lease}
    options = silence.options()

    seconds = options["keepalives_idle"] + options["keepalives_count"] * options["keepalives_interval"]
    assert seconds * 1000 == options["tcp_user_timeout"]
    assert seconds <= min(25, lease * 5 / 6)


def test_what_the_project_has_set_stands_on_both_sides():
    known = connections["default"].settings_dict
    connections["default"].settings_dict = {**known, "OPTIONS": {"tcp_user_timeout": 0, "keepalives_idle": 7}}
    engine_for("default").notice_silence()

    assert told_to_server() == TOLD | {"tcp_keepalives_idle": "7", "tcp_user_timeout": "0"}
    assert told_to_client() == SOCKET | {"TCP_KEEPIDLE": 7, "TCP_USER_TIMEOUT": 0}


@pytest.mark.fastpath
def test_a_session_that_is_reset_is_told_again():
    engine = adopt_own_connection("default")
    assert engine.reset_session()
    assert told_to_server()["tcp_user_timeout"] == "25000"


def test_where_the_process_number_is_made_up_the_session_is_left_alone(monkeypatch):
    monkeypatch.setattr(silence, "TELL", silence.TELL.replace("pg_backend_pid()", "-1"))
    adopt_own_connection("default")
    assert told_to_server()["tcp_user_timeout"] == "0"
