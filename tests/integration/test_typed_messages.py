"""Typed messages through the queue: enqueued as objects, kept as JSON, handled as objects."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from asgiref.sync import async_to_sync
from django.core.exceptions import ValidationError
from django.core.management import CommandError, call_command
from django.db import connection
from django.urls import reverse
from django.utils import timezone

from django_letsgo_worker import (
    aenqueue,
    enqueue,
    enqueue_many,
    handler,
    message_type,
    schedule,
    schedules,
)
from django_letsgo_worker.errors import InvalidMessage
from django_letsgo_worker.messages import find
from django_letsgo_worker.models import ArchivedMessage, Message, ScheduledJob
from django_letsgo_worker.signals import message_died
from django_letsgo_worker.testing import drain, fire_due
from tests.support import ROOT

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("own_registries")]


@dataclass
class Order:
    order: int
    gift: bool = False


@dataclass
class Stamped:
    id: UUID
    at: datetime


@pytest.fixture
def order(own_registries):
    return message_type("order:new")(Order)


def work():
    call_command("runworker", until_empty=True, concurrency=2)


def seen_by(type, **options):
    seen = []

    @handler(type, **options)
    def see(delivery):
        seen.append(delivery.payload)

    return seen


class TestEnqueue:
    def test_an_object_is_its_type_and_its_payload(self, order):
        handler(order, queue="orders", priority=5)(print)
        message = enqueue(Order(7), delay=60, headers={"by": "ada"})
        assert (message.type, message.payload) == ("order:new", {"order": 7, "gift": False})
        assert (message.queue, message.priority, message.headers) == ("orders", 5, {"by": "ada"})
        assert async_to_sync(aenqueue)(Order(8)).payload["order"] == 8
        assert enqueue({"type": Order(9)}).payload["order"] == 9

    def test_enqueue_many_takes_objects_among_others(self, order):
        messages = [Order(1), ("order:new", {"order": 2}), {"type": Order(3), "queue": "late"}, Order(4)]
        rows = [find(pk) for pk in enqueue_many(messages)]
        assert [(row.payload["order"], row.queue) for row in rows] == [
            (1, "default"), (2, "default"), (3, "late"), (4, "default"),
        ]  # fmt: skip
        assert {find(pk).queue for pk in enqueue_many([Order(5)], queue="bulk")} == {"bulk"}

    def test_what_does_not_fit_is_refused_before_anything_is_written(self, order):
        sentence = r"payload\.order does not fit Order: "
        with pytest.raises(InvalidMessage, match=rf"^{sentence}"):
            enqueue(Order("seven"))
        with pytest.raises(InvalidMessage, match=rf"^Message 1: {sentence}"):
            enqueue_many([Order(1), Order(None)])
        with pytest.raises(InvalidMessage, match=r"^An object of Order is its own payload: give no other\.$"):
            enqueue(Order(1), {"order": 1})
        assert not Message.objects.exists()

    def test_an_object_of_another_class_is_refused(self):
        with pytest.raises(InvalidMessage, match=r"^A type is text, not Order\.$"):
            enqueue(Order(1))
        with pytest.raises(InvalidMessage, match=r"^Message 0: a message is a mapping, a pair of"):
            enqueue_many([Order(1)])


UNFIT = {"order": "seven"}
SENTENCE = r"payload\.order does not fit Order: "


class TestEveryWayIn:
    """What does not fit is refused with one sentence, and nothing is written."""

    @pytest.fixture(autouse=True)
    def typed_type(self, order):
        handler(order)(print)

    @pytest.mark.parametrize(
        "way",
        [
            lambda: enqueue("order:new", UNFIT),
            lambda: enqueue({"type": "order:new", "payload": UNFIT}),
            lambda: enqueue("order:new"),
            lambda: async_to_sync(aenqueue)("order:new", UNFIT),
            lambda: enqueue("order:new", UNFIT, unique_key="k", on_conflict="replace"),
            lambda: enqueue_many([("order:new", UNFIT)]),
            lambda: enqueue_many([("order:new", {"order": 1}), ("order:new", UNFIT)]),
            lambda: enqueue_many([Order(1), {"type": "order:new", "payload": UNFIT, "queue": "late"}]),
            lambda: call_command("letsgo", "enqueue", "order:new", '{"order": "seven"}'),
        ],
    )
    def test_of_a_message(self, way):
        with pytest.raises((InvalidMessage, CommandError), match=r"payload(\.order)? does not fit Order: "):
            way()
        assert not Message.objects.exists()

    def test_a_message_that_fits_is_taken_as_json_has_it(self):
        message_type("order:lines")(dataclass(type("Lines", (), {"__annotations__": {"lines": list[int]}})))
        assert enqueue("order:lines", {"lines": (1, 2), "more": "of a newer sender"}).pk

    def test_the_live_twin_keeps_its_payload(self):
        enqueue("order:new", {"order": 1}, unique_key="k", delay=60)
        with pytest.raises(InvalidMessage, match=SENTENCE):
            enqueue("order:new", UNFIT, unique_key="k", on_conflict="replace")
        assert Message.objects.get().payload == {"order": 1}

    def test_of_a_schedule_that_is_added_or_changed(self):
        with pytest.raises(InvalidMessage, match=f"^{SENTENCE}"):
            schedules.add("orders", "@daily", "order:new", UNFIT)
        schedules.add("orders", "@daily", "order:new", {"order": 1})
        with pytest.raises(InvalidMessage, match=f"^{SENTENCE}"):
            schedules.update("orders", payload=UNFIT)
        schedules.add("others", "@daily", "other", UNFIT)
        with pytest.raises(InvalidMessage, match=f"^{SENTENCE}"):
            schedules.update("others", type="order:new")
        assert ScheduledJob.objects.get(name="orders").payload == {"order": 1}

    def test_of_a_schedule_in_a_form_it_stands_at_the_field(self, admin_client):
        with pytest.raises(ValidationError) as caught:
            ScheduledJob(name="orders", schedule="@daily", type="order:new", payload=UNFIT).full_clean()
        assert list(caught.value.error_dict) == ["payload"]

        fields = {
            "name": "orders", "enabled": "on", "type": "order:new", "schedule": "@daily", "timezone": "UTC",
            "payload": '{"order": "seven"}', "misfire": "once", "misfire_grace": "00:01:00",
            "overlap": "allow", "spread": "0",
        }  # fmt: skip
        answer = admin_client.post(reverse("admin:django_letsgo_worker_scheduledjob_add"), fields)
        errors = answer.context["adminform"].form.errors
        assert list(errors) == ["payload"]
        assert "payload.order does not fit Order: " in errors["payload"][0]
        assert not ScheduledJob.objects.exists()

    def test_of_a_schedule_in_a_file(self, tmp_path):
        file = tmp_path / "schedules.json"
        rows = [
            {"name": "good", "schedule": "@daily", "type": "order:new", "payload": {"order": 1}},
            {"name": "bad", "schedule": "@daily", "type": "order:new", "payload": UNFIT},
        ]
        file.write_text(json.dumps(rows))
        with pytest.raises(CommandError, match=rf"^Schedule 1 \('bad'\) is refused: {SENTENCE}"):
            call_command("letsgo", "schedule", "import", str(file))
        assert not ScheduledJob.objects.exists()

    def test_of_a_schedule_in_code(self, order):
        with pytest.raises(InvalidMessage, match=f"^{SENTENCE}"):

            @schedule("@daily", payload=UNFIT)
            @handler(order, where={"order": 1})
            def work(delivery):
                pass

    def test_of_a_row_that_others_wrote_it_is_the_schedules_problem(self):
        schedules.add("orders", "rate(1 minute)", "order:new", {"order": 1})
        ScheduledJob.objects.update(payload=UNFIT)
        fire_due(now=timezone.now() + timedelta(minutes=2))
        assert "payload.order does not fit Order" in ScheduledJob.objects.get().problem
        assert not Message.objects.exists()


def unfit_row():
    """A message that another producer wrote."""
    message = enqueue("order:new", {"order": 7})
    Message.objects.filter(pk=message.pk).update(payload=UNFIT)
    return message


def write_raw(sql, *parameters):
    with connection.cursor() as cursor:
        if connection.vendor == "mysql":
            cursor.execute("SET SESSION check_constraint_checks = 0")
        cursor.execute(sql, parameters)


class TestAWorker:
    def test_a_handler_of_the_class_is_given_the_object(self, order):
        seen = seen_by(order)
        enqueue(Order(7))
        enqueue("order:new", {"order": 8, "from": "elsewhere"})
        work()
        assert sorted(one.order for one in seen) == [7, 8]
        assert all(isinstance(one, Order) for one in seen)

    def test_a_handler_of_the_text_is_given_the_plain_payload(self, order):
        seen = seen_by("order:new")
        enqueue(Order(7))
        work()
        assert seen == [{"order": 7, "gift": False}]

    def test_an_async_one_and_an_atomic_one_are_given_it_too(self, order):
        seen = seen_by(order, atomic=True)

        @handler(order, where={"gift": True})
        async def give(delivery):
            seen.append(delivery.payload)

        enqueue_many([Order(7), Order(8, gift=True)])
        work()
        assert sorted(seen, key=lambda one: one.order) == [Order(7), Order(8, gift=True)]

    @pytest.mark.parametrize("drained", [False, True])
    def test_a_payload_that_does_not_fit_is_a_dead_letter_at_once(self, order, drained):
        seen = seen_by(order, max_attempts=5, backoff=[0])
        message = unfit_row()
        drain() if drained else work()
        letter = find(message.pk)
        assert (letter.outcome, letter.attempts, seen) == ("dead", 1, [])
        assert letter.error_class == "django_letsgo_worker.errors.InvalidMessage"
        assert letter.errors[0]["message"].startswith("payload.order does not fit Order: ")
        assert "seven" not in letter.errors[0]["traceback"]

    @pytest.mark.parametrize("narrowed", [False, True])
    @pytest.mark.parametrize("drained", [False, True])
    @pytest.mark.parametrize("column", ["payload", "headers"])
    def test_what_is_no_json_is_a_dead_letter_at_once_and_costs_no_worker(self, narrowed, drained, column):
        if connection.vendor == "postgresql":
            pytest.skip("Its columns take JSON only.")
        seen = seen_by("order:new", **({"where": {"order": 1}} if narrowed else {}))
        if narrowed:
            seen_by("order:new")
        broken, well = enqueue("order:new", {"order": 1}), enqueue("order:new", {"order": 1})
        write_raw(f"UPDATE {Message._meta.db_table} SET {column} = '{{no' WHERE id = %s", broken.pk)
        died = []

        def note(message_id, **facts):
            died.append(message_id)

        message_died.connect(note)
        try:
            drain() if drained else work()
        finally:
            message_died.disconnect(note)

        archived = dict(ArchivedMessage.objects.values_list("pk", "outcome"))
        assert archived == {broken.pk: "dead", well.pk: "succeeded"}
        assert seen == [{"order": 1}]
        assert died == [broken.pk]

    def test_errors_that_are_no_list_cost_no_worker(self):
        if connection.vendor == "postgresql":
            pytest.skip("Its columns take JSON only.")

        @handler("order:new", max_attempts=1)
        def fail(delivery):
            raise ValueError("no")

        message = enqueue("order:new")
        write_raw(f"UPDATE {Message._meta.db_table} SET errors = '{{no' WHERE id = %s", message.pk)
        work()
        assert [entry["message"] for entry in find(message.pk).errors] == ["no"]

    def test_a_refusal_of_ours_in_a_handler_is_no_reason_to_try_again(self):
        @handler("order:new", max_attempts=5, backoff=[0])
        def enqueue_a_set(delivery):
            enqueue("other", {1, 2})

        message = enqueue("order:new")
        work()
        assert (find(message.pk).outcome, find(message.pk).attempts) == ("dead", 1)

    def test_drain_gives_the_object_too(self, order):
        seen = seen_by(order)
        enqueue(Order(7))
        assert drain() == 1
        assert seen == [Order(7)]

    def test_datetimes_and_uuids_come_back_as_they_went(self):
        seen = seen_by(message_type("stamp:set")(Stamped))
        stamped = Stamped(UUID(int=7), datetime(2030, 1, 1, 12, tzinfo=UTC))
        enqueue(stamped)
        work()
        assert seen == [stamped]


# A project that has no pydantic: it enqueues, handles and schedules plain payloads.
WITHOUT_PYDANTIC = """
import sys
sys.modules["pydantic"] = None
from dataclasses import dataclass
import django
from django.conf import settings
settings.configure(
    SECRET_KEY="for tests",
    USE_TZ=True,
    INSTALLED_APPS=["django_letsgo_worker"],
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
)
django.setup()
from django.core.management import call_command
call_command("check")
call_command("migrate", verbosity=0)
from django_letsgo_worker import enqueue, errors, handler, message_type, schedules
from django_letsgo_worker.testing import drain

@handler("order:new")
def work(delivery):
    print("handled", delivery.payload)

enqueue("order:new", {"order": 7})
schedules.add("orders", "@daily", "order:new", {"order": 8})
drain()

@dataclass
class Order:
    order: int

try:
    message_type("order:typed")(Order)
except errors.LetsGoError as error:
    print(error)
print("pydantic" in [name.partition(".")[0] for name, module in sys.modules.items() if module])
"""


def test_plain_messages_need_no_pydantic_and_a_typed_one_says_that_it_does():
    done = subprocess.run([sys.executable, "-c", WITHOUT_PYDANTIC], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-3:] == [
        "handled {'order': 7}",
        "__main__.Order is checked by pydantic 2, which is not installed: "
        "pip install 'django-letsgo-worker[typed]'.",
        "False",
    ]
