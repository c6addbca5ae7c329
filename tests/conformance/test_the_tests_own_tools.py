"""The tests' own tools: a test database that other processes open, real processes, empty tables."""

from __future__ import annotations

import sqlite3

import environ
import pytest
from django.contrib.auth.models import Group, Permission
from django.db import connection
from django.test import TransactionTestCase

from tests.support import database_url, wait_until

COUNT_GROUPS = "from django.contrib.auth.models import Group; print('groups:', Group.objects.count())"
WRITE_GROUP = (
    "from django.contrib.auth.models import Group; Group.objects.create(name='from afar'); print('written')"
)
SLEEP_FOREVER = "import signal; print('sleeping', flush=True); signal.pause()"

IGNORE_SIGTERM = (
    "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True)\n"
    "while True: signal.pause()"
)


@pytest.mark.django_db(transaction=True)
class TestManage:
    def test_another_process_reads_what_the_test_committed(self, manage):
        Group.objects.create(name="committed")
        manage("shell", "-c", COUNT_GROUPS).wait_for_line("groups: 1")

    def test_the_test_reads_what_another_process_committed(self, manage):
        assert manage("shell", "-c", WRITE_GROUP).wait() == 0
        assert Group.objects.get().name == "from afar"

    def test_tables_are_emptied_of_what_another_process_wrote_and_not_of_what_migrate_did(self, manage):
        permissions = set(Permission.objects.values_list("pk", "codename"))
        assert manage("shell", "-c", WRITE_GROUP).wait() == 0

        # As after each test that commits.
        TransactionTestCase()._fixture_teardown()

        assert not Group.objects.exists()
        assert set(Permission.objects.values_list("pk", "codename")) == permissions != set()

    def test_a_process_is_stopped_by_a_signal(self, manage):
        process = manage("shell", "-c", SLEEP_FOREVER)
        process.wait_for_line("sleeping")
        assert process.stop() == -15

    def test_a_line_that_never_comes_fails_with_the_output(self, manage):
        process = manage("shell", "-c", COUNT_GROUPS)
        with pytest.raises(AssertionError, match=r"(?s)no line with 'nothing like it'.*ended.*groups: 0"):
            process.wait_for_line("nothing like it")

    def test_environment_and_settings_can_be_given(self, manage):
        code = (
            "import os; from django.conf import settings; print(os.environ['MARK'], settings.SETTINGS_MODULE)"
        )
        process = manage("shell", "-c", code, env={"MARK": "seen"}, settings_module="testproject.settings")
        process.wait_for_line("seen testproject.settings")

    def test_cleaning_up_kills_what_will_not_end(self, manage):
        process = manage("shell", "-c", IGNORE_SIGTERM)
        process.wait_for_line("deaf")
        process.terminate()
        process.clean_up()
        assert process.wait() == -9


@pytest.mark.django_db
def test_the_database_is_the_engine_that_was_asked_for(engine):
    assert {"sqlite": "sqlite", "postgres": "postgresql", "mariadb": "mysql"}[engine] == connection.vendor


@pytest.mark.django_db
def test_each_process_of_tests_has_a_database_of_its_own(worker_id):
    name = str(connection.settings_dict["NAME"])
    assert worker_id == "master" or worker_id in name


@pytest.mark.django_db
def test_the_sqlite_test_database_is_a_file_in_wal_mode(engine):
    if engine != "sqlite":
        pytest.skip("SQLite only")
    with sqlite3.connect(connection.settings_dict["NAME"]) as other:
        assert other.execute("PRAGMA journal_mode").fetchone() == ("wal",)


@pytest.mark.django_db
def test_the_url_of_the_test_database_reads_back_as_the_same_place():
    read = environ.Env.db_url_config(database_url(connection.settings_dict))
    for key in ("ENGINE", "NAME", "USER", "PASSWORD", "HOST"):
        assert str(read[key]) == str(connection.settings_dict[key]), key
    assert str(read["PORT"]) == str(connection.settings_dict["PORT"])


@pytest.mark.parametrize("host", ["db.example.org", "/var/run/postgresql"])
def test_hostile_credentials_survive_the_way_through_a_url(host):
    place = {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": "shop & co",
        "USER": "o'brien@home",
        "PASSWORD": "p:/?#[]@ss%20 word",
        "HOST": host,
        "PORT": 5433,
        "OPTIONS": {"sslmode": "disable"},
    }
    read = environ.Env.db_url_config(database_url(place))
    assert {key: read[key] for key in place} == place


def test_waiting_in_vain_says_for_what():
    with pytest.raises(AssertionError, match=r"in vain for: the cows\. Last answer: \[\]"):
        wait_until(list, timeout=0, what="the cows")


def test_waiting_returns_the_first_true_answer():
    answers = iter([0, None, "yes", "too late"])
    assert wait_until(lambda: next(answers), step=0) == "yes"
