"""letsgo import django-tasks-db: tasks that wait over there become messages here, once."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from django_letsgo_worker import messages
from django_letsgo_worker.management.letsgo.importing import tasks_db
from django_letsgo_worker.models import ArchivedMessage, Message
from django_letsgo_worker.testing import drain
from tests.importsources import tables
from tests.importsources.tables import NOW

from .test_output import everything, letsgo

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("our_tasks")]

ALL = TABLE = "django_tasks_database_dbtaskresult"
BEFORE = datetime(2026, 1, 1, tzinfo=UTC)
RUNNING, GONE = "RUNNING in default", "shop.tasks.gone"
ECHO = "letsgo:task:tests.taskapp.tasks.echo"


@pytest.fixture(scope="module")
def their_tables(django_db_setup, django_db_blocker):
    with django_db_blocker.unblock(), tables.made(ALL):
        yield


@pytest.fixture
def theirs(their_tables):
    tables.fill(ALL)


@pytest.mark.usefixtures("theirs")
class TestTheCommand:
    def test_it_prints_what_waits_and_what_runs_and_counts_what_has_ended(self):
        before = everything()
        said = letsgo("import", "django-tasks-db", "--json")
        found = [(row["name"].rpartition(".")[2], row["theirs"], row["verdict"]) for row in said.json]
        assert sorted(found) == [
            ("echo", "READY in default", "same"),
            ("echo", "READY in default", "same"),
            ("echo", "READY in mails", "same"),
            ("echo", "RUNNING in default", "skipped"),
            ("gone", "READY in default", "skipped"),
        ]
        assert "2 tasks that have ended are left where they are." in said.err
        assert everything() == before

    def test_why_a_task_stays_is_said(self):
        rows = letsgo("import", "django-tasks-db", "--json").json
        running, gone = (next(row["why"] for row in rows if word in row.values()) for word in (RUNNING, GONE))
        assert running == "it runs: let its worker end it, or enqueue it again"
        assert gone == f"no task is registered here as {GONE}: name our backend in TASKS first"

    def test_apply_enqueues_what_waits_with_all_that_it_says(self):
        before = tables.contents(ALL)
        said = letsgo("import", "django-tasks-db", "--apply")
        assert "added 3, changed 0, unchanged 0, skipped 2." in said.err
        assert "Run no db_worker any more" in said.err
        later, first = (
            next(one for one in Message.objects.all() if one.payload["args"][0] == text)
            for text in ("later", 1)
        )
        assert first.payload == {"args": [1], "kwargs": {"two": 2}}
        assert (first.type, first.queue, first.priority) == (ECHO, "default", 0)
        assert (later.queue, later.priority, later.visible_at) == ("mails", 5, NOW + timedelta(days=2))
        assert tables.contents(ALL) == before

    def test_a_task_whose_time_has_come_may_start_at_once(self):
        tables.change(TABLE, {"queue_name": "mails"}, run_after=BEFORE)
        letsgo("import", "django-tasks-db", "--apply")
        mail = Message.objects.get(queue="mails")
        assert mail.visible_at <= mail.enqueued_at

    def test_apply_twice_enqueues_once_also_when_the_messages_have_run(self):
        tables.change(TABLE, {}, run_after=BEFORE)
        letsgo("import", "django-tasks-db", "--apply")
        again = letsgo("import", "django-tasks-db", "--apply")
        assert "added 0, changed 0, unchanged 3, skipped 2." in again.err
        assert drain() == 3
        assert (
            "added 0, changed 0, unchanged 3, skipped 2."
            in letsgo("import", "django-tasks-db", "--apply").err
        )
        assert (Message.objects.count(), ArchivedMessage.objects.filter(outcome="succeeded").count()) == (
            0,
            3,
        )

    def test_arguments_are_not_shown(self):
        for words in ((), ("--json",), ("--apply",)):
            assert "later" not in letsgo("import", "django-tasks-db", *words).out

    @pytest.mark.parametrize(
        ("values", "why"),
        [
            ({"args_kwargs": [1]}, "its arguments are not JSON"),
            ({"queue_name": "two words"}, "The queue"),
            ({"priority": 1000}, "A priority is"),
        ],
    )
    def test_what_no_message_can_be_is_skipped(self, values, why):
        tables.change(TABLE, {"queue_name": "mails"}, **values)
        rows = letsgo("import", "django-tasks-db", "--apply", "--json").json
        refused = [row for row in rows if row["why"].startswith(why)]
        assert [row["does"] for row in refused] == ["skipped"]

    def test_more_rows_than_a_transaction_takes_are_all_enqueued_once(self, monkeypatch):
        monkeypatch.setattr(tasks_db, "AT_ONCE", 2)
        letsgo("import", "django-tasks-db", "--apply")
        assert Message.objects.count() == 3
        assert [row["does"] for row in letsgo("import", "django-tasks-db", "--json").json].count("leave") == 3


@pytest.mark.usefixtures("their_tables")
def test_an_empty_table_is_said():
    assert letsgo("import", "django-tasks-db").err.startswith("None found.")


@pytest.mark.usefixtures("theirs")
def test_what_waits_under_its_key_is_not_enqueued_again():
    letsgo("import", "django-tasks-db", "--apply")
    key = Message.objects.values_list("unique_key", flat=True)[0]
    assert key is not None and key.startswith("django-tasks-db:")
    assert messages.enqueue(ECHO, unique_key=key).created is False
