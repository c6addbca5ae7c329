"""How PostgreSQL keeps our tables: the live messages are vacuumed soon, the idle queues write no log."""

from __future__ import annotations

import pytest
from django.db import connection
from django.db.migrations.executor import MigrationExecutor

from django_letsgo_worker.engines import TABLE

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif(connection.vendor != "postgresql", reason="PostgreSQL only"),
]


def asked(sql: str) -> list[tuple]:
    with connection.cursor() as cursor:
        cursor.execute(sql)
        return cursor.fetchall()


def options() -> dict[str, str]:
    ((found,),) = asked(f"SELECT reloptions FROM pg_class WHERE relname = '{TABLE}'")
    return dict(option.split("=") for option in found or ())


def test_the_live_messages_are_vacuumed_long_before_a_fifth_of_them_is_dead():
    assert float(options()["autovacuum_vacuum_scale_factor"]) <= 0.02
    assert options()["autovacuum_vacuum_cost_delay"] == "0"


def test_the_settings_go_when_the_migration_is_taken_back():
    newest = MigrationExecutor(connection).loader.graph.leaf_nodes("django_letsgo_worker")
    MigrationExecutor(connection).migrate([("django_letsgo_worker", "0002_postgresql_idle_queue_unlogged")])
    try:
        assert options() == {}
    finally:
        MigrationExecutor(connection).migrate(newest)
    assert options()


def test_the_idle_queues_are_kept_out_of_the_log():
    assert asked("SELECT relpersistence FROM pg_class WHERE relname = 'django_letsgo_worker_idlequeue'") == [
        ("u",)
    ]
