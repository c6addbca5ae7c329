"""What `manage.py check` says about settings, connections, commands, handlers and routers, without a row."""

from __future__ import annotations

import sqlite3
from contextlib import closing

import pytest
from django.apps import apps
from django.core import checks
from django.core.management import CommandError, call_command, get_commands
from django.db import connections

from django_letsgo_worker import handler, schedule
from django_letsgo_worker.checks import database
from django_letsgo_worker.checks.configuration import AT_START, PROJECT


def found(*tags, deploy=False):
    return checks.run_checks(tags=tags or [AT_START, PROJECT], include_deployment_checks=deploy)


def said(*tags, deploy=False):
    """Return the ids of what the checks of these tags find: of both groups of ours, when none is named."""
    return [message.id for message in found(*tags, deploy=deploy)]


def sentence(id, *tags, deploy=False):
    """Return the words of the one message with this id."""
    (message,) = [message for message in found(*tags, deploy=deploy) if message.id == id]
    return f"{message.msg} {message.hint}"


@pytest.fixture
def place(settings, monkeypatch):
    """Put the queue on an alias of its own: place(ENGINE=..., OPTIONS=...)."""

    def put(**entry):
        monkeypatch.setitem(settings.DATABASES, "elsewhere", {**settings.DATABASES["default"], **entry})
        settings.LETSGO_WORKER = {**settings.LETSGO_WORKER, "DATABASE": "elsewhere"}

    yield put
    if hasattr(connections._connections, "elsewhere"):
        del connections["elsewhere"]


def of_connection():
    """Return the ids of what is said about the connection to the queue's database."""
    return [message.id for message in database.check_connection(None)]


class TestSettings:
    def test_nothing_is_said_about_good_ones(self):
        assert said(deploy=True) == []

    def test_one_that_does_not_exist_is_an_error_with_a_suggestion(self, settings):
        settings.LETSGO_WORKER = {"CONCURENCY": 4}

        (message,) = found(deploy=True)

        assert message.id == "letsgo_worker.E001"
        assert "Did you mean 'CONCURRENCY'?" in message.msg

    def test_a_database_that_does_not_exist_is_an_error(self, settings):
        settings.LETSGO_WORKER = {"DATABASE": "elsewhere"}

        assert said(deploy=True) == ["letsgo_worker.E002"]

    def test_naive_times_are_refused(self, settings):
        settings.USE_TZ = False

        assert said() == ["letsgo_worker.E003"]

    @pytest.mark.parametrize(
        ("zone", "expected"), [("UTC", []), ("Europe/Copenhagen", ["letsgo_worker.E004"])]
    )
    def test_a_database_in_another_zone_is_refused(self, settings, monkeypatch, zone, expected):
        monkeypatch.setitem(settings.DATABASES["default"], "TIME_ZONE", zone)

        assert said() == expected

    @pytest.mark.parametrize(
        ("key", "value"), [("SCHEDULE", "every day"), ("SCHEDULE_TIMEZONE", "Mars/Base")]
    )
    def test_a_built_in_schedule_that_cannot_be_read_is_an_error_that_stops_no_worker(
        self, settings, key, value
    ):
        settings.LETSGO_WORKER = {key: value}

        assert f"LETSGO_WORKER['{key}'] is refused" in sentence("letsgo_worker.E005")
        assert said(AT_START) == []

    def test_a_pattern_of_types_that_fits_nothing_is_a_warning_with_a_suggestion(
        self, settings, own_registry
    ):
        handler("shop:order")(print)
        settings.LETSGO_WORKER = {"TYPES": {"shop:*": {"QUEUE": "a"}, "shop:ordr": {"QUEUE": "b"}}}

        assert (
            "TYPES'] has 'shop:ordr', which fits no type that a handler has. Did you mean 'shop:order'?"
            in sentence("letsgo_worker.W017")
        )
        assert said(AT_START) == []
        settings.LETSGO_WORKER = {"TYPES": {"*": {"QUEUE": "a"}}}
        assert said() == []

    def test_a_carrier_that_does_not_exist_is_a_warning_with_a_suggestion(self, settings):
        settings.LETSGO_WORKER = {"CONTEXT": ["langauge", "trace"]}

        assert "names 'langauge', and there is no such carrier. Did you mean 'language'?" in sentence(
            "letsgo_worker.W013"
        )
        assert said(AT_START) == []

    @pytest.mark.parametrize(("lease", "expected"), [(3, []), (2.9, ["letsgo_worker.W005"])])
    def test_a_lease_too_short_for_three_heartbeats_is_said_before_a_deploy(self, settings, lease, expected):
        settings.LETSGO_WORKER = {"LEASE_SECONDS": lease}

        assert said(deploy=True) == expected
        assert said() == []

    def test_what_is_silenced_is_not_said(self, settings):
        settings.USE_TZ = False
        with pytest.raises(CommandError, match="E003"):
            call_command("check", tags=[AT_START, PROJECT])
        settings.SILENCED_SYSTEM_CHECKS = ["letsgo_worker.E003"]

        call_command("check", tags=[AT_START, PROJECT])


class TestSQLite:
    FILE = {"ENGINE": "django.db.backends.sqlite3", "NAME": "/nowhere/db.sqlite3"}
    IMMEDIATE = {"transaction_mode": "IMMEDIATE"}
    WAL = {"init_command": "PRAGMA synchronous=NORMAL; PRAGMA journal_mode = wal;"}

    @pytest.mark.parametrize(
        ("options", "expected"),
        [
            ({}, ["letsgo_worker.W001", "letsgo_worker.W002"]),
            ({**WAL, "transaction_mode": "deferred"}, ["letsgo_worker.W001"]),
            ({**IMMEDIATE, "init_command": "PRAGMA journal_mode=DELETE"}, ["letsgo_worker.W002"]),
            ({**IMMEDIATE, **WAL}, []),
        ],
    )
    def test_a_file_without_immediate_or_wal_is_said(self, place, options, expected):
        place(**self.FILE, OPTIONS=options)

        assert of_connection() == expected

    @pytest.mark.parametrize(("mode", "expected"), [("WAL", []), ("DELETE", ["letsgo_worker.W002"])])
    def test_a_file_that_is_in_wal_mode_already_needs_no_option(self, place, tmp_path, mode, expected):
        with closing(sqlite3.connect(tmp_path / "db")) as database:
            database.execute(f"PRAGMA journal_mode = {mode}")
            database.execute("CREATE TABLE something (n)")
        place(**{**self.FILE, "NAME": tmp_path / "db"}, OPTIONS=self.IMMEDIATE)

        assert of_connection() == expected

    @pytest.mark.parametrize("name", [":memory:", "file:memory?mode=memory&cache=shared"])
    def test_nothing_is_said_about_one_in_memory(self, place, name):
        place(**{**self.FILE, "NAME": name}, OPTIONS={})

        assert of_connection() == []

    def test_the_hint_is_what_to_write(self, place):
        place(**self.FILE, OPTIONS={})

        immediate, wal = database.check_connection(None)

        assert immediate.hint == 'In OPTIONS of DATABASES[\'elsewhere\'] set "transaction_mode": "IMMEDIATE".'
        assert "PRAGMA journal_mode=WAL" in wal.hint


class TestPool:
    @pytest.mark.parametrize(
        ("pool", "expected"),
        [
            (None, []),
            (False, []),
            (True, ["letsgo_worker.W004"]),
            ({}, []),
            ({"min_size": 2}, ["letsgo_worker.W004"]),
            ({"min_size": 2, "max_size": 7}, ["letsgo_worker.W004"]),
            ({"min_size": 2, "max_size": 8}, []),
            ({"min_size": 8}, []),
        ],
        ids=str,
    )
    def test_one_that_is_smaller_than_the_seats_is_said(self, place, pool, expected):
        place(ENGINE="django.db.backends.postgresql", OPTIONS={"pool": pool})

        assert of_connection() == expected

    def test_fewer_seats_need_fewer_connections(self, place, settings):
        settings.LETSGO_WORKER = {"CONCURRENCY": 4}
        place(ENGINE="django.db.backends.postgresql", OPTIONS={"pool": True})

        assert of_connection() == []


class TestCommands:
    def test_a_runworker_of_another_app_in_front_is_said_with_its_other_name(self, monkeypatch):
        monkeypatch.setitem(get_commands(), "runworker", "channels")

        words = sentence("letsgo_worker.W006")

        assert words.startswith("`manage.py runworker` runs the command of 'channels'")
        assert "`manage.py letsgo worker run`" in words and "above 'channels' in INSTALLED_APPS" in words

    def test_a_hidden_runscheduler_is_said_too(self, monkeypatch):
        monkeypatch.setitem(get_commands(), "runscheduler", "other.clock")

        assert "Move 'django_letsgo_worker' above 'other.clock'" in sentence("letsgo_worker.W006")

    def test_a_worker_starts_all_the_same(self, monkeypatch):
        monkeypatch.setitem(get_commands(), "runworker", "channels")

        assert said(AT_START) == []


class TestQueues:
    def test_one_that_gets_messages_and_is_left_out_of_the_setting_is_said(self, settings, own_registry):
        handler("t:a", queue="mails")(print)
        handler("t:b", queue="mails")(repr)
        handler("t:c", queue="orders")(len)
        settings.LETSGO_WORKER = {"QUEUES": ["orders"]}

        assert "leaves out 'mails', where messages of t:a, t:b go" in sentence("letsgo_worker.W007")
        assert said(AT_START) == []

    def test_types_without_a_queue_go_to_the_default_one(self, settings, own_registry):
        handler("t:a")(print)
        settings.LETSGO_WORKER = {"QUEUES": "orders"}
        assert said() == ["letsgo_worker.W007"]

        settings.LETSGO_WORKER = {"QUEUES": "orders,default"}
        assert said() == []

    def test_a_declared_schedule_counts(self, settings, own_registry):
        schedule("@daily", name="letters", queue="letters")(handler("t:a")(print))
        settings.LETSGO_WORKER = {"QUEUES": "default"}

        assert "'letters', where messages of t:a go" in sentence("letsgo_worker.W007")

    def test_all_queues_are_served_without_the_setting(self, settings, own_registry):
        handler("t:a", queue="mails")(print)
        settings.LETSGO_WORKER = {}

        assert said() == []


class Routed:
    """Sends one app to an alias, and lets the tables of ours onto it, or not."""

    def __init__(self, app, *, alias="elsewhere", lets_ours=True):
        self.app, self.alias, self.lets_ours = app, alias, lets_ours

    def db_for_write(self, model, **hints):
        return self.alias if model._meta.app_label == self.app else None

    db_for_read = db_for_write

    def allow_migrate(self, db, app_label, **hints):
        return self.lets_ours if app_label == "django_letsgo_worker" else None


class TestAnotherDatabase:
    ROUTER = "django_letsgo_worker.routers.LetsGoRouter"

    @pytest.fixture(autouse=True)
    def only_one_handler(self, own_registry, place):
        place(ENGINE="django.db.backends.sqlite3", NAME="file:elsewhere?mode=memory")

    def test_what_is_lost_is_said_and_stops_no_worker(self, settings):
        settings.DATABASE_ROUTERS = [self.ROUTER]

        words = sentence("letsgo_worker.W008")

        assert "The queue is on 'elsewhere', and all data of the project on 'default'" in words
        assert "not part of the caller's transaction" in words and "exactly once" in words
        assert said() == ["letsgo_worker.W008"]
        assert said(AT_START) == []

    def test_nothing_is_lost_where_the_data_is_there_too(self, settings):
        settings.DATABASE_ROUTERS = [self.ROUTER, Routed("shop")]

        assert said() == []

    def test_a_missing_router_is_said(self, settings):
        settings.DATABASE_ROUTERS = [Routed("shop")]

        assert self.ROUTER in sentence("letsgo_worker.W009")

    def test_routers_that_keep_our_tables_away_are_an_error(self, settings):
        settings.DATABASE_ROUTERS = [Routed("shop", lets_ours=False)]

        assert self.ROUTER in sentence("letsgo_worker.E007")

    def test_an_atomic_handler_whose_data_is_not_there_stops_the_worker(self, settings):
        settings.DATABASE_ROUTERS = [self.ROUTER]
        handler("t:atomic", atomic=True)(lambda delivery: None)
        handler("t:plain")(lambda delivery: None)

        words = sentence("letsgo_worker.E006", AT_START)

        assert "The handler of 't:atomic' is atomic (tests.checks.test_checks." in words
        assert "'elsewhere'" in words
        with pytest.raises(CommandError, match="E006"):
            call_command("runworker")

    def test_an_atomic_handler_of_an_app_whose_data_is_there_is_fine(self, settings):
        settings.DATABASE_ROUTERS = [self.ROUTER, Routed("shop")]
        model = apps.get_model("shop", "Order")

        def work(delivery):
            model.objects.get()

        work.__module__ = "testproject.shop.handlers"
        handler("t:atomic", atomic=True)(work)
        assert said(AT_START) == []

        settings.DATABASE_ROUTERS = [self.ROUTER, Routed("auth")]
        assert said(AT_START) == ["letsgo_worker.E006"]


def test_every_atomic_handler_is_fine_where_there_is_one_database(own_registry):
    handler("t:atomic", atomic=True)(lambda delivery: None)

    assert said() == []
