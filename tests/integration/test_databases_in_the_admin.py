"""A site of the admin for a second database: it shows and changes that one, and never touches the first.

Both databases have rows of all kinds, those of the first with a name of their own.
"""

from __future__ import annotations

import re
from contextlib import ExitStack
from datetime import timedelta

import pytest
from django.apps import apps
from django.contrib.admin import AdminSite
from django.contrib.admin.models import LogEntry
from django.core.exceptions import ImproperlyConfigured
from django.db import transaction
from django.test import Client
from django.urls import include, path

from django_letsgo_worker import admin, enqueue, enqueue_many, messages, queues, schedules
from django_letsgo_worker.admin.base import logged_id
from django_letsgo_worker.conf import on_database, settings
from django_letsgo_worker.engines import engine_for
from django_letsgo_worker.models import Message, ScheduledJob
from tests.admin.test_failures import fail
from tests.admin.test_schedules import form
from tests.browser.pages import pages
from tests.browser.rows import archived, dead_letter, process
from tests.inspection.troubles import write_all_kinds

from .conftest import rows, statements

pytestmark = [pytest.mark.django_db(databases=["default", "reports"]), pytest.mark.usefixtures("reports")]

ROOT, DEFAULT = "/reports-admin/", "/admin/"
OURS = f"{ROOT}django_letsgo_worker/"
# What only rows of the first database are called.
THEIRS = "of-the-first"
MODELS = (
    "message",
    "archivedmessage",
    "deadletter",
    "failure",
    "messagetype",
    "queue",
    "process",
    "scheduledjob",
)


def text(response):
    return response.content.decode()


@pytest.fixture(scope="module")
def urls(reports):
    """The URLs of a project with a site for each database."""
    site = AdminSite("reports")
    admin.register(site, using=reports)
    admin.register(site, using=reports)
    patterns = [path("", include("testproject.urls")), path(ROOT[1:], site.urls)]
    return type("Urls", (), {"urlpatterns": patterns})


@pytest.fixture(autouse=True)
def both_sites(urls, settings):
    settings.ROOT_URLCONF = urls


@pytest.fixture(autouse=True)
def first():
    """Rows of the first database, each with its name on it."""
    enqueue(f"{THEIRS}.send", queue=f"{THEIRS}-queue")
    enqueue(f"{THEIRS}.send", queue=f"{THEIRS}-queue", delay=3600)
    dead_letter(type=f"{THEIRS}.charge", queue=f"{THEIRS}-queue", error_fingerprint="f9")
    archived(type=f"{THEIRS}.charge")
    fail("f8", message=f"{THEIRS} failed")
    process(name=f"{THEIRS}-1", types=[f"{THEIRS}.send"])
    schedules.add(f"{THEIRS}-nightly", "@daily", f"{THEIRS}.send")
    queues.pause(f"{THEIRS}-queue", by=THEIRS)
    messages.pause_type(f"{THEIRS}.send", by=THEIRS)
    messages.operate("retry", type=f"{THEIRS}.send", by=THEIRS)


# -- what it shows -----------------------------------------------------------------------------------------


@pytest.fixture
def troubled(reports):
    """Rows of all kinds on the second database, and problems whose actions are links and commands."""
    with ExitStack() as stack:
        with on_database(reports):
            write_all_kinds(stack)
            process(name="web-1")
        yield
        with on_database(reports):
            stack.close()


def test_every_page_shows_its_rows_and_asks_nothing_of_the_first_database(admin_client, troubled):
    with statements("default") as asked:
        found = pages(admin_client, "reports")
        texts = {page: admin_client.get(page.path, follow=True).content.decode() for page in found}

    assert len(found) > 40, [page.name for page in found]
    assert asked == []
    for page, html in texts.items():
        assert THEIRS not in html, page.path
        for link in re.findall(r'(?:href|action|formaction|src|data-[a-z-]+)="(/[^"]*)"', html):
            is_switch = link == f"{DEFAULT}django_letsgo_worker/"
            assert is_switch or link.startswith((ROOT, "/static/")) or link == "/", f"{page.path} to {link}"


def test_the_pages_of_the_first_database_are_as_ever(admin_client, troubled):
    """It is the control of the one above, too: there are statements to be found, and names to be seen."""
    with statements("default") as asked, statements("reports") as asked_of_the_second:
        lists = [admin_client.get(f"{DEFAULT}django_letsgo_worker/{model}/") for model in MODELS]
        overview = admin_client.get(f"{DEFAULT}django_letsgo_worker/")

    assert [model for model, page in zip(MODELS, lists, strict=True) if THEIRS not in text(page)] == []
    assert "mail.send" not in text(overview)
    assert asked and asked_of_the_second == []


def test_what_a_template_asks_for_is_asked_there(admin_client, reports):
    """Take away that the response is rendered there, and the overview shows the first database."""
    with on_database(reports):
        enqueue("mail.send", queue="second-queue")
    page = admin_client.get(OURS)
    assert "second-queue" in text(page) and THEIRS not in text(page)
    assert settings().database == "default"


def test_an_error_leaves_nothing_behind_for_the_next_request(admin_client):
    with pytest.raises(ZeroDivisionError), on_database("reports"):
        raise ZeroDivisionError
    assert admin_client.get(f"{OURS}message/0/change/").status_code == 302
    assert settings().database == "default"
    assert THEIRS in text(admin_client.get(f"{DEFAULT}django_letsgo_worker/message/"))


def test_the_overviews_lead_to_each_other(admin_client):
    for address, shown in ((OURS, "reports"), (f"{DEFAULT}django_letsgo_worker/", "default")):
        switch = re.search(
            r'<nav class="lg-tabs" aria-label="Database">.*?</nav>', text(admin_client.get(address)), re.S
        )
        assert re.findall(r'href="([^"]+)"', switch[0]) == [f"{DEFAULT}django_letsgo_worker/", OURS]
        assert f'aria-current="page">{shown}<' in switch[0]


def test_commands_on_its_pages_name_the_database(admin_client, reports):
    with on_database(reports):
        enqueue("mail.send", queue="second-queue")
    assert "manage.py runworker --database reports" in text(admin_client.get(OURS))
    assert "start one with `manage.py runscheduler --database reports`" in text(
        admin_client.get(f"{OURS}scheduledjob/")
    )
    assert "--database" not in text(admin_client.get(f"{DEFAULT}django_letsgo_worker/"))


# -- what it changes ---------------------------------------------------------------------------------------


def do(model, pk, action, **given):
    return f"{OURS}{model}/{pk}/do/{action}/", given


def paused_queue():
    queues.pause("mail")
    return do("queue", "mail", "resume")


def paused_type():
    enqueue("mail.send")
    messages.pause_type("mail.send")
    return do("messagetype", "mail.send", "resume")


def queue_page(page, **given):
    enqueue("mail.send", queue="mail")
    return f"{OURS}queue/mail/{page}/", given


def type_page(**given):
    enqueue("mail.send")
    return f"{OURS}messagetype/mail.send/pause/", given


def failure_of(action):
    row, _live, _dead = fail()
    if action == "resume_type":
        messages.pause_type(row.type)
    return do("failure", row.pk, action)


def operation(action):
    enqueue_many([("mail.send", n) for n in range(3)], delay=3600)
    return do("bulkoperation", messages.operate("retry", over="10m", type="mail.send").pk, action)


def job(**fields):
    return schedules.add("nightly", "@daily", "mail.send", **fields)


def schedule_page(page, **given):
    return f"{OURS}scheduledjob/{job().pk}/{page}/", given


def backfill():
    begin = engine_for("default").clock() - timedelta(days=3)
    found = schedules.add("nightly", "@daily", "mail.send", now=begin)
    given = {"start": f"{begin:%Y-%m-%dT%H:%M}", "end": f"{begin + timedelta(days=2):%Y-%m-%dT%H:%M}"}
    return f"{OURS}scheduledjob/{found.pk}/backfill/", given


def resume_all():
    job()
    schedules.pause_all(by="ada")
    return f"{OURS}scheduledjob/resume-all/", {}


def chosen(model, pk, action, **given):
    return f"{OURS}{model}/", {"action": action, "_selected_action": [str(pk)], "index": "0", **given}


# By what is done: the rows that it begins with, made on the second database; the address and what is posted.
BUTTONS = {
    "cancel a message": lambda: do("message", enqueue("mail.send").pk, "cancel"),
    "cancel messages": lambda: chosen("message", enqueue("mail.send").pk, "cancel"),
    "retry a message": lambda: do("message", enqueue("mail.send", delay=60).pk, "retry"),
    "redrive a dead letter": lambda: do("deadletter", dead_letter().pk, "redrive"),
    "discard a dead letter": lambda: do("deadletter", dead_letter().pk, "discard", post="yes"),
    "redrive dead letters": lambda: chosen("deadletter", dead_letter().pk, "redrive"),
    "pause the type of a failure": lambda: failure_of("pause_type"),
    "resume the type of a failure": lambda: failure_of("resume_type"),
    "pause a type": lambda: type_page(reason="it is broken", minutes="60"),
    "pause types": lambda: (type_page(), chosen("messagetype", "mail.send", "pause", reason="down"))[1],
    "resume a type": paused_type,
    "pause a queue": lambda: queue_page("pause", reason="it is down", minutes="60"),
    "pause queues": lambda: (queue_page("pause"), chosen("queue", "mail", "pause", reason="down"))[1],
    "resume a queue": paused_queue,
    "purge a queue": lambda: queue_page("purge", name="mail", reason="by mistake"),
    "begin an operation": lambda: (f"{OURS}bulkoperation/add/", {"kind": "retry", "type": "mail.send"}),
    "stop an operation": lambda: operation("stop"),
    "take back an operation": lambda: operation("undo"),
    "drain a worker": lambda: do("process", process().pk, "stop"),
    "forget a worker": lambda: do("process", process(heartbeat_at="2020-01-01T00:00:00Z").pk, "forget"),
    "switch a schedule on": lambda: do("scheduledjob", job(enabled=False).pk, "enable"),
    "switch a schedule off": lambda: do("scheduledjob", job().pk, "disable"),
    "run a schedule now": lambda: do("scheduledjob", job().pk, "run_now"),
    "switch a schedule off, saying why": lambda: schedule_page("off", reason="it is too much"),
    "add a schedule": lambda: (f"{OURS}scheduledjob/add/", {**form(), "name": "weekly"}),
    "edit a schedule": lambda: schedule_page(
        "change", **{**form(), "name": "nightly", "schedule": "@weekly"}
    ),
    "delete a schedule": lambda: schedule_page("delete", post="yes"),
    "backfill a schedule": backfill,
    "pause all schedules": lambda: (job(), (f"{OURS}scheduledjob/pause-all/", {"reason": "the move"}))[1],
    "resume all schedules": resume_all,
}


@pytest.mark.parametrize("what", BUTTONS)
def test_a_button_changes_its_own_database_alone(what, admin_client, reports):
    with on_database(reports):
        address, given = BUTTONS[what]()
    before, there = rows("default"), rows(reports)

    with statements("default") as asked:
        answer = admin_client.post(address, given)

    assert answer.status_code == 302, text(answer)
    assert answer.headers["Location"].startswith(ROOT)
    assert asked == []
    assert rows("default") == before
    assert rows(reports) != there
    assert [entry for entry in LogEntry.objects.all() if not is_of_the_second(entry)] == []
    assert LogEntry.objects.exists()


def is_of_the_second(entry):
    return (entry.object_id or entry.change_message).endswith("@reports")


def test_every_action_is_among_them(reports):
    """A new one needs a line above."""
    registry = admin.admin.site._registry
    ours = [model for model in apps.get_app_config("django_letsgo_worker").get_models() if model in registry]
    actions = {(model._meta.model_name, action) for model in ours for action in registry[model].actions or ()}
    done = set()
    for begin in BUTTONS.values():
        with on_database(reports), transaction.atomic(using=reports):
            address, given = begin()
            transaction.set_rollback(True, using=reports)
        words = address.removeprefix(OURS).strip("/").split("/")
        done.add((words[0], given.get("action", words[-1])))
    assert actions - done == set()


# -- the log -----------------------------------------------------------------------------------------------


def test_rows_with_one_id_have_a_history_each(admin_client, reports):
    for alias in ("default", reports):
        ScheduledJob.objects.using(alias).create(
            id=77, name=f"same-{alias}", schedule="@daily", type="mail.send", timezone="UTC"
        )
    admin_client.post(f"{OURS}scheduledjob/77/do/disable/")
    admin_client.post(f"{DEFAULT}django_letsgo_worker/scheduledjob/77/do/run_now/")

    def history(root):
        return text(admin_client.get(f"{root}scheduledjob/77/history/"))

    off, on = history(OURS), history(f"{DEFAULT}django_letsgo_worker/")
    assert "Switched off" in off and "Switched off" not in on
    assert {entry.object_id for entry in LogEntry.objects.all()} == {"77", "77@reports"}


def test_recent_actions_lead_to_the_site_that_has_the_row(admin_client, reports):
    with on_database(reports):
        found = schedules.add("nightly", "@daily", "mail.send")
        assert logged_id(5) == "5@reports"
    admin_client.post(f"{OURS}scheduledjob/{found.pk}/do/disable/")
    entry = LogEntry.objects.get()

    answer = admin_client.get(f"{DEFAULT}{entry.get_admin_url().removeprefix(DEFAULT)}", follow=True)
    assert answer.redirect_chain == [(f"{OURS}scheduledjob/{found.pk}/change/", 302)]
    assert "nightly" in text(answer)


# -- who may have such a site ------------------------------------------------------------------------------


def test_permissions_are_those_of_the_pages(client, django_user_model):
    client.force_login(django_user_model.objects.create_user("ben", is_staff=True))
    assert client.get(f"{OURS}message/").status_code == 403
    client.logout()
    answer = client.get(f"{OURS}message/")
    assert answer.status_code == 302 and answer.headers["Location"].startswith(f"{ROOT}login/")


def test_a_forged_post_is_refused(admin_user, reports):
    strict = Client(enforce_csrf_checks=True)
    strict.force_login(admin_user)
    with on_database(reports):
        address, _given = do("message", enqueue("mail.send").pk, "cancel")
    assert strict.post(address).status_code == 403
    assert Message.objects.using(reports).count() == 1


def test_an_alias_that_is_none_is_refused():
    with pytest.raises(
        ImproperlyConfigured, match="There is no database 'report' in DATABASES, which has default, rep"
    ):
        admin.register(AdminSite("typo"), using="report")


def test_without_a_router_it_is_refused(settings):
    settings.DATABASE_ROUTERS = []
    with pytest.raises(ImproperlyConfigured, match="no router sends Message.objects there"):
        admin.register(AdminSite("unrouted"), using="reports")


def test_one_site_shows_one_database():
    with pytest.raises(
        ImproperlyConfigured, match="The site 'reports' of the admin shows the database 'reports'"
    ):
        admin.register(admin.sites._sites["reports"].site)
