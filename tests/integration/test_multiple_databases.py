"""The queue on another alias than the data: where tables and rows go, what works there, what is refused.

A site of its own keeps its data in a SQLite file and its queue in the test database, whatever engine that is.
"""

from __future__ import annotations

import json
import shutil
import sqlite3
import textwrap
from contextlib import closing
from types import SimpleNamespace

import pytest
from django.contrib.auth.models import Group

from django_letsgo_worker.models import ArchivedMessage, Message, Occurrence, Process, ScheduledJob
from django_letsgo_worker.routers import LetsGoRouter
from tests.support import ROOT, wait_until

OURS = {"django_letsgo_worker_message", "django_letsgo_worker_scheduledjob", "letsgo_stripe_seenevent"}
SITE = {
    "__init__.py": "",
    "settings.py": """
        import environ
        from testproject.settings import *  # noqa: F403

        INSTALLED_APPS = [
            "office",
            "django_letsgo_worker",
            "django_letsgo_worker.contrib.stripe",
            *(app for app in INSTALLED_APPS if app.startswith("django.")),
        ]
        ROOT_URLCONF, ALLOWED_HOSTS = "office.urls", ["*"]
        DATABASES = {"default": env.db("OFFICE_URL"), "jobs": env.db("DATABASE_URL")}
        for database in DATABASES.values():
            if database["ENGINE"].endswith("sqlite3"):
                database["OPTIONS"] = {
                    "timeout": 20,
                    "transaction_mode": "IMMEDIATE",
                    "init_command": "PRAGMA journal_mode=WAL;",
                }
        DATABASE_ROUTERS = env.list("OFFICE_ROUTERS", default=["django_letsgo_worker.routers.LetsGoRouter"])
        LETSGO_WORKER = {"DATABASE": "jobs", "SCHEDULE": ""}
    """,
    "urls.py": """
        from django.contrib import admin
        from django.urls import path

        urlpatterns = [path("admin/", admin.site.urls)]
    """,
    "handlers.py": """
        from django.contrib.auth.models import Group
        from django_letsgo_worker import handler


        @handler("office:open", backoff=[3600])
        def open_office(delivery):
            if "fail" in delivery.payload:
                raise ValueError("closed")
            Group.objects.create(name=delivery.payload["name"])
    """,
    "atomic.py": """
        from django_letsgo_worker import handler


        @handler("office:atomic", atomic=True)
        def work(delivery):
            pass
    """,
    "routers.py": """
        from django_letsgo_worker.routers import LetsGoRouter


        class Both(LetsGoRouter):
            further_aliases = ("default",)
    """,
}


@pytest.fixture(scope="module")
def migrated(tmp_path_factory, django_db_setup):
    """The directory of the site's package, and an office file that `migrate` has filled."""
    directory = tmp_path_factory.mktemp("site")
    (directory / "office").mkdir()
    for name, text in SITE.items():
        (directory / "office" / name).write_text(textwrap.dedent(text))
    return directory


@pytest.fixture
def site(migrated, manage, tmp_path):
    """Run commands of the site; its queue is the test database, its data a file."""
    environment = {
        "PYTHONPATH": f"{ROOT}:{migrated}",
        "OFFICE_URL": f"sqlite:///{tmp_path / 'office.sqlite3'}",
    }

    def start(*words, **env):
        return manage(*words, env={**environment, **env}, settings_module="office.settings")

    def run(*words, **env):
        """Run a command to its end; return what it printed."""
        process = start(*words, **env)
        assert process.wait(60) == 0, process.output
        return "".join(process.stdout)

    done = migrated / "office.sqlite3"
    if not done.exists():
        run("migrate", OFFICE_URL=f"sqlite:///{done}")
    shutil.copy(done, tmp_path / "office.sqlite3")
    return SimpleNamespace(start=start, run=run, data=tmp_path / "office.sqlite3")


def read(file, sql):
    """Return the first column of what a statement finds in a SQLite file."""
    with closing(sqlite3.connect(file)) as database:
        return [row[0] for row in database.execute(sql)]


def tables(file):
    return set(read(file, "SELECT name FROM sqlite_master WHERE type = 'table'"))


class TestTheRouter:
    ALIAS = {"DATABASE": "jobs"}

    def test_it_has_an_opinion_on_ours_alone(self, settings):
        settings.LETSGO_WORKER = self.ALIAS
        router = LetsGoRouter()
        assert (router.db_for_read(Message), router.db_for_write(ScheduledJob)) == ("jobs", "jobs")
        assert router.db_for_read(Group) is router.db_for_write(Group) is None
        assert router.allow_migrate("jobs", "auth") is router.allow_migrate("jobs", "gone") is None

    def test_what_belongs_to_a_row_is_where_that_row_is(self, settings):
        settings.LETSGO_WORKER = self.ALIAS
        job = ScheduledJob()
        job._state.db = "further"
        assert LetsGoRouter().db_for_read(Occurrence, instance=job) == "further"
        assert LetsGoRouter().db_for_write(Occurrence, instance=ScheduledJob()) == "jobs"

    def test_our_tables_go_to_our_alias_and_to_those_that_a_subclass_names(self, settings):
        settings.LETSGO_WORKER = self.ALIAS

        class Both(LetsGoRouter):
            further_aliases = ("default",)

        for label in ("django_letsgo_worker", "letsgo_slack"):
            allowed = {
                alias: LetsGoRouter().allow_migrate(alias, label) for alias in ("jobs", "default", "x")
            }
            assert allowed == {"jobs": True, "default": False, "x": False}
            assert Both().allow_migrate("default", label) and not Both().allow_migrate("x", label)


@pytest.mark.django_db(transaction=True)
class TestASiteWithTwo:
    def test_migrate_puts_our_tables_on_our_alias_alone(self, site, tmp_path):
        jobs = {"DATABASE_URL": f"sqlite:///{tmp_path / 'jobs.sqlite3'}"}
        refused = site.start("runworker", "--until-empty", **jobs)
        assert refused.wait() == 1
        assert "run `manage.py migrate --database jobs` first" in refused.stderr[-1]

        site.run("migrate", "--database", "jobs", **jobs)

        assert tables(tmp_path / "jobs.sqlite3") >= OURS
        assert not [name for name in tables(site.data) if "letsgo" in name]
        assert "auth_group" in tables(site.data)
        site.run("runworker", "--until-empty", **jobs)

    def test_a_message_is_enqueued_and_handled_there_and_its_effects_are_here(self, site):
        site.run(
            *("shell", "-c"), "from django_letsgo_worker import *; enqueue('office:open', {'name': 'ada'})"
        )
        assert Message.objects.get().type == "office:open"

        site.run("runworker", "--until-empty")

        assert ArchivedMessage.objects.get().outcome == "succeeded"
        assert read(site.data, "SELECT name FROM auth_group") == ["ada"]
        assert not Group.objects.exists()

    def test_an_enqueue_is_not_part_of_a_transaction_of_the_data(self, site):
        code = """
            from django.contrib.auth.models import Group
            from django.db import transaction
            from django_letsgo_worker import enqueue

            with transaction.atomic():
                Group.objects.create(name="rolled back")
                enqueue("office:open", {"name": "too early"})
                transaction.set_rollback(True)
            with transaction.atomic():
                transaction.on_commit(lambda: enqueue("office:open", {"name": "in time"}))
                transaction.set_rollback(True)
        """
        site.run("shell", "-c", textwrap.dedent(code))

        assert [message.payload["name"] for message in Message.objects.all()] == ["too early"]
        assert read(site.data, "SELECT name FROM auth_group") == []

    def test_schedules_fire_there(self, site):
        site.run(
            "letsgo", "schedule", "add", "often", "@every 1s", "office:open", "--payload", '{"name": "a"}'
        )
        scheduler = site.start("runscheduler")
        wait_until(lambda: Occurrence.objects.exists(), what="an occurrence")

        assert scheduler.stop() == 0
        assert Message.objects.filter(type="office:open").exists()
        assert Process.objects.get().kind == "scheduler"

    def test_the_admin_shows_and_changes_what_is_there(self, site):
        code = """
            import json
            from django.contrib.admin.models import LogEntry
            from django.contrib.auth.models import User
            from django.test import Client
            from django_letsgo_worker import enqueue, schedules
            from django_letsgo_worker.models import Message, ScheduledJob

            client = Client()
            client.force_login(User.objects.create_superuser("ada"))
            message = enqueue("office:open", {"name": "by entry"}, delay=3600)
            schedules.add("nightly", "@daily", "office:open")
            base = "/admin/django_letsgo_worker"
            names = "message archivedmessage deadletter scheduledjob process queue".split()
            pages = [client.get(f"{base}/{name}/").status_code for name in names]
            pages.append(client.get(f"{base}/message/{message.pk}/change/").status_code)
            for name, action, row in (
                ("message", "cancel", message.pk),
                ("scheduledjob", "run_now", ScheduledJob.objects.get().pk),
            ):
                posted = {"action": action, "_selected_action": [row]}
                pages.append(client.post(f"{base}/{name}/", posted, follow=True).status_code)
            deleted = client.post(
                f"{base}/scheduledjob/{ScheduledJob.objects.get().pk}/delete/", {"post": "yes"}, follow=True
            )
            print(json.dumps([pages, deleted.status_code, LogEntry.objects.count()]))
        """
        pages, deleted, logged = json.loads(site.run("shell", "-v", "0", "-c", textwrap.dedent(code)))

        assert set(pages) == {200} and deleted == 200
        assert ArchivedMessage.objects.get().outcome == "cancelled"
        assert [message.headers for message in Message.objects.all()] == [{"schedule": "nightly"}]
        assert not ScheduledJob.objects.exists()
        assert logged == len(read(site.data, "SELECT id FROM django_admin_log")) == 3

    def test_an_atomic_handler_is_refused_at_start(self, site):
        worker = site.start("runworker", LETSGO_WORKER_IMPORTS="office.atomic")

        assert worker.wait() == 1
        assert "letsgo_worker.E006" in worker.output and "office:atomic" in worker.output
        assert "Traceback" not in worker.output
        assert not Process.objects.exists()

    def test_the_check_says_what_is_lost(self, site):
        check = site.start("check", "--database", "jobs")

        assert check.wait() == 0
        assert "letsgo_worker.W008" in check.output
        assert "letsgo_worker.E" not in check.output and "letsgo_worker.W009" not in check.output

    def test_a_further_alias_with_the_tables_takes_messages_in_its_transactions(self, site, tmp_path):
        routers = {
            "OFFICE_ROUTERS": "office.routers.Both",
            "OFFICE_URL": f"sqlite:///{tmp_path / 'both.sqlite3'}",
        }
        site.run("migrate", **routers)
        code = """
            from django.db import transaction
            from django_letsgo_worker import enqueue

            for name, fails in (("kept", False), ("lost", True)):
                with transaction.atomic():
                    enqueue("office:open", {"name": name}, using="default")
                    transaction.set_rollback(fails)
        """
        site.run("shell", "-c", textwrap.dedent(code), **routers)
        assert not Message.objects.exists()

        site.run("runworker", "--until-empty", LETSGO_WORKER_DATABASE="default", **routers)

        in_both = tmp_path / "both.sqlite3"
        assert read(in_both, "SELECT name FROM auth_group") == ["kept"]
        assert read(in_both, "SELECT outcome FROM django_letsgo_worker_archivedmessage") == ["succeeded"]
