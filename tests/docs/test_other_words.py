"""What people write who come from other queues: each refusal says what to write here."""

from __future__ import annotations

import pytest
from asgiref.sync import async_to_sync
from django.test import override_settings

from django_letsgo_worker import aenqueue, enqueue, enqueue_many, handler, schedule, schedules
from django_letsgo_worker.errors import InvalidMessage, InvalidSchedule
from django_letsgo_worker.messages import arguments
from tests.taskapp import TASKS

with override_settings(TASKS=TASKS):
    from tests.taskapp import tasks

A_SCHEDULE = "A schedule has no field {!r}: "


@pytest.mark.parametrize(
    ("option", "sentence"),
    [
        ("countdown", "enqueue() has no option 'countdown': write delay=."),
        ("eta", "enqueue() has no option 'eta': write visible_at=."),
        ("run_after", "enqueue() has no option 'run_after': write visible_at=."),
        ("expires", "enqueue() has no option 'expires': write deadline=."),
        ("max_retries", "enqueue() has no option 'max_retries': write max_attempts=."),
        ("every", "write @schedule('rate(5 minutes)') above its @handler."),
        ("dellay", "enqueue() has no option 'dellay'; did you mean 'delay'?"),
        ("colour", "enqueue() has no option 'colour'."),
    ],
)
class TestEnqueue:
    def test_an_option_of_other_queues(self, option, sentence):
        with pytest.raises(TypeError) as caught:
            enqueue("job", **{option: 5})
        assert sentence in str(caught.value)

    def test_one_for_many(self, option, sentence):
        with pytest.raises(InvalidMessage) as caught:
            enqueue_many([{"type": "job", option: 5}])
        assert sentence in str(caught.value)


def test_the_async_door_says_it_too():
    with pytest.raises(TypeError, match="'countdown': write delay=."):
        async_to_sync(aenqueue)("job", countdown=5)


def test_an_error_of_another_kind_stays_as_it_is():
    with pytest.raises(TypeError, match="missing 1 required positional argument: 'type'"):
        enqueue(delay=5)


@pytest.mark.parametrize(
    ("option", "sentence"),
    [
        ("schedule", "@handler has no option 'schedule': write @schedule('rate(5 minutes)') above @handler."),
        ("every", "@handler has no option 'every': write @schedule('rate(5 minutes)') above @handler."),
        ("retries", "@handler has no option 'retries': write max_attempts=."),
        ("time_out", "@handler has no option 'time_out'; did you mean 'timeout'?"),
    ],
)
def test_an_option_of_a_handler(option, sentence):
    with pytest.raises(TypeError) as caught:
        handler("job", **{option: 5})
    assert str(caught.value) == sentence


@pytest.mark.parametrize(
    ("field", "instead"),
    [
        ("tz", "write timezone=."),
        ("start", "write starts_at=."),
        (
            "every",
            "its text says when it runs, such as 'rate(5 minutes)' or '0 9 * * MON-FRI'.",
        ),
        ("cron", "its text says when it runs, such as 'rate(5 minutes)' or '0 9 * * MON-FRI'."),
    ],
)
def test_a_field_of_a_schedule(field, instead):
    sentence = A_SCHEDULE.format(field) + instead
    for error, act in [
        (TypeError, lambda: schedules.add("often", "rate(5 minutes)", "job", **{field: "UTC"})),
        (InvalidSchedule, lambda: schedules.update("often", **{field: "UTC"})),
        (InvalidSchedule, lambda: schedule("rate(5 minutes)", **{field: "UTC"})),
    ]:
        with pytest.raises(error) as caught:
            act()
        assert str(caught.value) == sentence


@pytest.mark.parametrize(
    ("option", "sentence"),
    [
        ("max_attempts", "'max_attempts': write it in @task(...), or in capitals in OPTIONS of TASKS."),
        ("countdown", "using() has no option 'countdown': write run_after=."),
        ("queue", "using() has no option 'queue': write queue_name=."),
    ],
)
def test_an_option_of_a_copy_of_a_task(option, sentence):
    with pytest.raises(TypeError) as caught:
        tasks.echo.using(**{option: 5})
    assert str(caught.value).startswith("using() has no option ") and sentence in str(caught.value)


@pytest.mark.django_db
class TestATypeThatNobodyRegisters:
    @pytest.fixture(autouse=True)
    def nothing_was_said(self, monkeypatch):
        monkeypatch.setattr(arguments, "_said", set())

    def test_is_said_once_with_its_likeness_where_code_is_written(self, settings, caplog):
        settings.DEBUG = True
        for _ in range(2):
            enqueue("ordr:new", {"order": 7})

        assert caplog.messages == [
            "No handler is registered here for the type 'ordr:new', so its messages wait. "
            "Did you mean 'order:new'?"
        ]

    def test_is_not_said_in_production(self, settings, caplog):
        settings.DEBUG = False
        enqueue("ordr:new", {"order": 7})

        assert caplog.messages == []

    def test_is_none_where_somebody_does(self, settings, caplog):
        settings.DEBUG = True
        enqueue("order:new", {"order": 7})

        assert caplog.messages == []


@pytest.mark.django_db(transaction=True)
class TestAQueueThatNobodyUses:
    def test_a_worker_says_which_one_may_be_meant(self, manage):
        enqueue("order:new", {"order": 7}, queue="reports")
        worker = manage("runworker", "--until-empty", "--queues", "raports")

        assert worker.wait() == 0
        assert "The queue 'raports' is not in use, but 'reports' has messages: did you mean" in worker.output

    @pytest.mark.parametrize("queues", ["reports", "orders", "zzz", "reports,raports"])
    def test_nothing_is_said_of_one_that_is_used_or_like_none(self, manage, queues):
        enqueue("nobody:knows", queue="reports")
        worker = manage("runworker", "--until-empty", "--queues", queues)

        assert worker.wait() == 0
        assert "Nobody uses" not in worker.output
