"""Commands, workers and blocks of code on a second database: --database, `using` and on_database()."""

from __future__ import annotations

import asyncio
import io
import json
import socket
import threading

import pytest
from asgiref.sync import sync_to_async
from django.core.exceptions import ImproperlyConfigured
from django.core.management import CommandError, call_command
from django.db import connections

from django_letsgo_worker import aenqueue, conf, enqueue, enqueue_many, messages, queues, schedules
from django_letsgo_worker.conf import on_database, settings
from django_letsgo_worker.embedded import running
from django_letsgo_worker.engines import engine_for
from django_letsgo_worker.errors import NotReady
from django_letsgo_worker.management.commands.letsgo import Command
from django_letsgo_worker.models import ArchivedMessage, Message, Process, ScheduledJob
from django_letsgo_worker.testing import drain
from tests.admin.test_failures import fail
from tests.browser.rows import dead_letter, process
from tests.docs.test_snippets import check_python, snippets_of
from tests.importsources import tables
from tests.letsgo.test_output import letsgo, refusal
from tests.support import ROOT, database_url, wait_until

from .conftest import rows, statements

pytestmark = [pytest.mark.django_db(databases=["default", "reports"]), pytest.mark.usefixtures("reports")]
committed = pytest.mark.django_db(databases=["default", "reports"], transaction=True)

MARK = "of-the-second"


# -- blocks ------------------------------------------------------------------------------------------------


def test_what_names_no_database_is_done_on_that_of_the_block(reports):
    with on_database(reports):
        enqueue("t:x")
        schedules.add("nightly", "@daily", "t:x")
        assert Message.objects.get() and ScheduledJob.objects.get()
        with on_database("default"):
            assert (settings().database, conf.further_alias()) == ("default", None)
        with on_database(None):
            assert (settings().database, conf.further_alias()) == (reports, reports)

    assert settings().database == conf.configured_alias() == "default"
    assert rows("default") == {}
    assert set(rows(reports)) == {"Message", "ScheduledJob"}


def test_a_block_holds_for_its_own_thread_and_its_own_task(reports):
    """Two blocks at a time do not see each other."""
    met = threading.Barrier(2)
    found = {}

    def block(alias):
        with on_database(alias):
            met.wait(10)
            found[alias] = settings().database
            met.wait(10)

    threads = [threading.Thread(target=block, args=[alias]) for alias in ("default", reports)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert found == {"default": "default", reports: reports}

    async def task(alias):
        with on_database(alias):
            await asyncio.sleep(0)
            return settings().database

    async def both():
        return await asyncio.gather(*map(task, ("default", reports)))

    assert asyncio.run(both()) == ["default", reports]


@committed
def test_async_code_takes_it_along(reports):
    async def send():
        with on_database(reports):
            await aenqueue("t:x")
        # Those of the thread that enqueued: nobody else would.
        await sync_to_async(connections.close_all)()

    asyncio.run(send())
    assert (set(rows("default")), set(rows(reports))) == (set(), {"Message"})


def test_the_rest_of_the_settings_is_that_of_the_project(reports, settings):
    settings.LETSGO_WORKER = {"CONCURRENCY": 3}
    with on_database(reports):
        assert (conf.settings().database, conf.settings().concurrency) == (reports, 3)
        settings.LETSGO_WORKER = {"CONCURRENCY": 4}
        assert conf.settings().concurrency == 4


def test_what_a_drained_handler_enqueues_is_where_it_came_from(reports, handle):
    handle("t:next")(lambda delivery: None)
    handle("t:first")(lambda delivery: enqueue("t:next") and None)
    enqueue("t:first", using=reports)

    assert drain() == 0
    assert drain(using=reports) == 2
    assert rows("default") == {}


# -- letsgo ------------------------------------------------------------------------------------------------


def operation():
    enqueue_many([(f"{MARK}.send", n) for n in range(3)], delay=3600)
    return messages.operate("retry", over="10m", type=f"{MARK}.send").pk


def job(**fields):
    return schedules.add(f"{MARK}-job", "@daily", f"{MARK}.send", **fields).name


def message():
    return enqueue(f"{MARK}.send", queue=f"{MARK}-queue", delay=3600).pk


def paused_queue():
    message()
    queues.pause(f"{MARK}-queue")
    return f"{MARK}-queue"


def paused_type():
    message()
    messages.pause_type(f"{MARK}.send")
    return f"{MARK}.send"


def letter():
    return dead_letter(type=f"{MARK}.send").pk


def silent():
    return process(name=f"{MARK}-worker", heartbeat_at="2020-01-01T00:00:00Z").name


# By verb: rows on the second database, of which the first argument is made; then further arguments.
READING = {
    "status": (message,),
    "info": (message,),
    "top": (message, "--json"),
    "schedule list": (job,),
    "schedule show": (job, "{}"),
    "schedule next": (job, "{}"),
    "schedule export": (job,),
    "message list": (message,),
    "message show": (message, "{}"),
    "message why": (message, "{}"),
    "dead list": (letter,),
    "dead show": (letter, "{}"),
    "operation list": (operation,),
    "operation show": (operation, "{}"),
    "failures list": (lambda: fail(message=f"{MARK} failed"),),
    "failures show": (lambda: fail(message=f"{MARK} failed"), "f1"),
    "queue list": (message,),
    "type list": (paused_type,),
    "worker list": (lambda: process(name=f"{MARK}-worker"),),
}
WRITING = {
    "enqueue": (None, "t:x", "[1]"),
    "schedule add": (None, "weekly", "@weekly", "t:x"),
    "schedule delete": (job, "{}", "--noinput"),
    "schedule enable": (lambda: job(enabled=False), "{}"),
    "schedule disable": (job, "{}"),
    "schedule run": (job, "{}"),
    "schedule backfill": (job, "{}", "2026-01-01T00:00Z", "2026-01-02T00:00Z"),
    "schedule pause-all": (job,),
    "schedule resume-all": (lambda: job() and schedules.pause_all(),),
    "message cancel": (message, "{}"),
    "message retry": (message, "{}"),
    "dead redrive": (letter, "{}"),
    "dead discard": (letter, "{}", "--noinput"),
    "operation stop": (operation, "{}"),
    "operation undo": (operation, "{}"),
    "queue pause": (message, f"{MARK}-queue"),
    "queue resume": (paused_queue, "{}"),
    "queue purge": (message, f"{MARK}-queue", "--noinput"),
    "type pause": (message, f"{MARK}.send"),
    "type resume": (paused_type, "{}"),
    "worker stop": (lambda: process(name=f"{MARK}-worker").name, "{}"),
    "worker forget": (silent, "{}"),
    "prune": (lambda: dead_letter(finished_at="2020-01-01T00:00:00Z"),),
}
# Tested below, or without rows: handlers.
OTHERS = {
    "doctor",
    "handlers",
    "healthcheck",
    "schedule import",
    "worker run",
    "import celery-beat",
    "import django-q2",
    "import django-tasks-db",
}


def verbs(parser, words=()):
    """Yield all verbs of the command."""
    for action in parser._actions:
        if isinstance(action.choices, dict):
            for word, below in action.choices.items():
                yield from verbs(below, (*words, word))
            return
    yield " ".join(words)


def test_every_verb_is_among_them():
    assert set(verbs(Command().create_parser("manage.py", "letsgo"))) == {*READING, *WRITING, *OTHERS}


def prepared(verb, alias):
    """Make the rows that a verb begins with; return its words."""
    make, *further = {**READING, **WRITING}[verb]
    with on_database(alias):
        made = make() if make else ""
    return [*verb.split(), *(made if word == "{}" else word for word in further)]


@pytest.mark.parametrize("verb", READING)
def test_a_verb_shows_the_database_that_it_is_given(verb, reports):
    words = prepared(verb, reports)

    with statements("default") as asked:
        said = letsgo(*words, "--database", reports)
        before_the_noun = letsgo("--database", reports, *words)

    assert asked == []
    assert said.out.splitlines()[:1] == before_the_noun.out.splitlines()[:1]
    assert (
        reports in said.out
        if verb == "info"
        else MARK in said.out or verb in ("schedule next", "operation show")
    )


@pytest.mark.parametrize("verb", WRITING)
def test_a_verb_changes_the_database_that_it_is_given_alone(verb, reports):
    words = prepared(verb, reports)
    prepared(verb, "default")
    before, there = rows("default"), rows(reports)

    with statements("default") as asked:
        letsgo(*words, database=reports)

    assert asked == []
    assert rows("default") == before
    assert rows(reports) != there


def test_without_the_option_it_is_the_first_database(reports):
    """It is the control of those above: there are statements to be found."""
    prepared("message list", reports)
    with statements("default") as asked, statements(reports) as asked_of_the_second:
        assert MARK not in letsgo("message", "list").out
    assert asked and asked_of_the_second == []


def test_the_doctor_looks_there_and_its_commands_name_the_database(reports):
    process(name="of-the-first", kind="scheduler")
    with on_database(reports):
        message()
        Message.objects.update(visible_at=engine_for(reports).clock())
    out = io.StringIO()

    with statements("default") as asked, pytest.raises(CommandError, match="problems? found"):
        call_command("letsgo", "doctor", "--json", database=reports, stdout=out)

    assert asked == []
    advised = {action["command"] for found in json.loads(out.getvalue()) for action in found["actions"]}
    assert "manage.py runworker --database reports" in advised


def test_schedules_are_imported_there(reports, tmp_path):
    with on_database("default"):
        schedules.add("nightly", "@daily", "t:x")
    file = tmp_path / "schedules.json"
    file.write_text(letsgo("schedule", "export").out)

    letsgo("schedule", "import", file, "--database", reports)

    assert [found.name for found in ScheduledJob.objects.using(reports)] == ["nightly"]


@pytest.fixture(scope="module")
def beat_tables(django_db_setup, django_db_blocker):
    with django_db_blocker.unblock(), tables.made("django_celery_beat"):
        yield


def test_rows_of_other_packages_may_be_on_another_one(reports, beat_tables):
    tables.fill("django_celery_beat")
    assert "no table django_celery_beat" in refusal("import", "celery-beat", "--database", reports)

    letsgo("import", "celery-beat", "--from-database", "default", "--apply", "--database", reports)

    assert ScheduledJob.objects.using(reports).filter(name="weekdays").exists()
    assert not ScheduledJob.objects.exists()


@committed
def test_a_probe_hears_of_the_processes_there(reports):
    here = {"host": socket.gethostname(), "pid": 1}
    with on_database(reports):
        process(name="web-1", **here)
    assert "worker web-1" in letsgo("healthcheck", "--database", reports).out
    assert "web-1" not in refusal("healthcheck")


@pytest.mark.parametrize("command", ["runworker", "runscheduler", "letsgo status", "letsgo worker run"])
def test_a_database_that_is_none_is_one_sentence(command, reports):
    with pytest.raises(CommandError) as refused:
        call_command(*command.split(), "--database", "report")
    assert str(refused.value) == "There is no database 'report' in DATABASES, which has default, reports."


@pytest.mark.parametrize("command", ["runworker", "runscheduler", "letsgo status"])
def test_one_that_the_routers_keep_free_of_us_is_one_sentence(command, reports, settings):
    settings.DATABASE_ROUTERS = ["django_letsgo_worker.routers.LetsGoRouter"]
    with pytest.raises(CommandError, match="^No queue is on the database 'reports': .* further_aliases"):
        call_command(*command.split(), "--database", reports)


# -- processes ---------------------------------------------------------------------------------------------


@pytest.fixture
def start(manage, reports):
    """Start a command of the project with both databases."""

    def begin(*words, **env):
        urls = {"REPORTS_URL": database_url(connections[reports].settings_dict)}
        return manage(*words, env={**urls, **env}, settings_module="tests.integration.twodatabases.settings")

    return begin


def finish(process):
    assert process.wait(60) == 0, process.output
    return process.output


@committed
@pytest.mark.parametrize(
    "command",
    [
        ["runworker"],
        ["letsgo", "worker", "run"],
        ["runworker", "--processes", "2"],
        ["runworker", "--no-reload"],
    ],
    ids=" ".join,
)
def test_a_worker_serves_that_database_and_what_follows_is_there(command, start, reports):
    enqueue("follow:last")
    for type in ("follow:sync", "follow:async"):
        enqueue(type, using=reports)

    said = finish(start(*command, "--database", reports, "--until-empty"))

    assert "database     reports" in said
    assert set(rows("default")) == {"Message"} and Message.objects.get().attempts == 0
    ended = ArchivedMessage.objects.using(reports)
    after = {row.payload["after"] for row in ended.filter(type="follow:last")}
    after |= {row.payload["after"] for row in Message.objects.using(reports)}
    assert after == {"follow:sync", "follow:async", "signal"}
    assert set(ended.values_list("outcome", flat=True)) == {"succeeded"}


@committed
def test_a_scheduler_fires_there(start, reports):
    schedules.add("first", "@every 1s", "follow:last")
    schedules.add("second", "@every 1s", "follow:last", using=reports)

    scheduler = start("runscheduler", "clock", "--database", reports)
    wait_until(lambda: Message.objects.using(reports).filter(type="follow:last").exists(), what="a message")

    assert scheduler.stop() == 0
    assert Process.objects.using(reports).get().name == "clock"
    assert set(rows("default")) == {"ScheduledJob"}


@committed
def test_the_option_wins_over_the_environment(start, reports):
    enqueue("follow:last", using=reports)
    finish(start("runworker", "--until-empty", "--database", reports, LETSGO_WORKER_DATABASE="default"))
    assert ArchivedMessage.objects.using(reports).count() == 1


@committed
def test_tables_that_are_missing_are_one_sentence(start, reports, tmp_path):
    nothing = {"REPORTS_URL": f"sqlite:///{tmp_path / 'nothing.sqlite3'}"}
    for command in (
        ["runworker"],
        ["runscheduler"],
        ["letsgo", "queue", "list"],
        ["letsgo", "worker", "run"],
    ):
        process = start(*command, "--database", reports, **nothing)
        assert process.wait(60) == 1
        assert "on the database 'reports'" in process.stderr[-1]
        assert "`manage.py migrate --database reports` first" in process.stderr[-1]
        assert "Traceback" not in process.output


# -- inside another process --------------------------------------------------------------------------------


@committed
def test_a_worker_inside_a_site_serves_the_database_that_it_is_given(reports, own_registry, handle):
    handle("t:next")(lambda delivery: None)
    handle("t:first")(lambda delivery: enqueue("t:next") and None)
    with running(using=reports):
        enqueue("t:first")
        enqueue("t:first", using=reports)
        done = ArchivedMessage.objects.using(reports)
        wait_until(lambda: done.filter(type="t:next").exists(), what="what follows")
    assert set(rows("default")) == {"Message"}


@committed
def test_an_atomic_handler_whose_data_is_elsewhere_is_refused_there(reports, own_registry, handle):
    handle("t:x", atomic=True)(lambda delivery: None)
    with pytest.raises(NotReady, match="is atomic .* is not on 'reports'"), running(using=reports):
        pass


def test_a_worker_inside_a_site_refuses_an_alias_that_is_none():
    with (
        pytest.raises(ImproperlyConfigured, match="There is no database 'report' in DATABASES"),
        running(using="report"),
    ):
        pass


# -- the how-to --------------------------------------------------------------------------------------------


@committed
def test_the_snippets_of_the_page_do_what_it_says(reports, admin_client, settings):
    page = snippets_of(ROOT / "docs" / "howto" / "databases.md")
    to_enqueue, for_urls = (snippet.text for snippet in page if snippet.language == "python databases")

    check_python(to_enqueue)
    assert [row.type for row in Message.objects.using(reports)] == ["report:make"]
    assert not Message.objects.exists()

    settings.ROOT_URLCONF = type("Urls", (), {"urlpatterns": check_python(for_urls)["urlpatterns"]})
    for root, shown in (("/reports-admin", True), ("/admin", False)):
        page = admin_client.get(f"{root}/django_letsgo_worker/message/").content.decode()
        assert ("report:make" in page) is shown
