"""Schedules declared on handlers: @schedule says it, a scheduler brings the rows in step."""

from __future__ import annotations

from datetime import timedelta

import pytest

from django_letsgo_worker import declarations, handler, registry, schedule, schedules
from django_letsgo_worker.errors import InvalidMessage, InvalidSchedule
from django_letsgo_worker.models import ScheduledJob

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def clean_registry():
    yield
    for name in ("report:new", "report:late", "reports"):
        declarations.remove(name)
        registry.remove(name)


def declare(expression="30 2 * * *", **options):
    @schedule(expression, **options)
    @handler("report:new")
    def report(delivery): ...

    return report


def brought_in_step(**options):
    declare(**options)
    schedules.sync_declared(schedules.declared_in_code())
    return ScheduledJob.objects.get(type="report:new")


def test_a_declared_schedule_becomes_a_row_that_runs():
    job = brought_in_step(timezone="Europe/Copenhagen", payload={"kind": "daily"})

    assert (job.name, job.schedule, job.timezone) == ("report:new", "30 2 * * *", "Europe/Copenhagen")
    assert job.payload == {"kind": "daily"}
    assert job.declared_in_code
    assert job.enabled
    assert job.next_run_at is not None


def test_it_may_have_a_name_and_further_fields():
    job = brought_in_step(name="reports", queue="slow", priority=3, deadline=600, overlap="skip", spread=5)

    assert (job.name, job.queue, job.priority, job.overlap, job.spread) == ("reports", "slow", 3, "skip", 5)
    assert job.deadline == timedelta(minutes=10)


def test_bringing_in_step_again_writes_nothing():
    job = brought_in_step(deadline=600, misfire_grace=30)

    schedules.sync_declared(schedules.declared_in_code())

    assert ScheduledJob.objects.get(pk=job.pk).version == job.version
    assert ScheduledJob.objects.get(pk=job.pk).updated_at == job.updated_at


def test_people_decide_whether_it_is_on():
    brought_in_step()
    schedules.disable("report:new", by="anna", reason="moving house")

    schedules.sync_declared(schedules.declared_in_code())

    assert not ScheduledJob.objects.get(name="report:new").enabled


def test_one_that_is_declared_no_more_is_switched_off_with_that_reason():
    brought_in_step()
    declarations.remove("report:new")

    schedules.sync_declared(schedules.declared_in_code())

    job = ScheduledJob.objects.get(name="report:new")
    assert not job.enabled
    assert "no longer declared" in job.switch_reason


@pytest.mark.parametrize(
    ("options", "error", "sentence"),
    [
        ({"expression": "*/90 * * * *"}, InvalidSchedule, "rate(90 minutes)"),
        ({"timezone": "Mars/Phobos"}, InvalidSchedule, "Mars/Phobos"),
        ({"colour": "red"}, InvalidSchedule, "no field 'colour'"),
        ({"payload": {1, 2}}, InvalidMessage, "payload is of type set"),
        ({"deadline": -1}, InvalidMessage, "deadline must not be negative"),
    ],
)
def test_what_cannot_be_a_schedule_is_refused_where_it_stands(options, error, sentence):
    with pytest.raises(error, match="^[^\n]*$") as caught:
        declare(**options)

    assert sentence in str(caught.value)


def test_it_must_stand_above_a_handler():
    with pytest.raises(InvalidSchedule, match="goes above @handler"):

        @schedule("@daily")
        def report(delivery): ...


def test_two_of_one_name_are_refused():
    declare(name="reports")

    with pytest.raises(InvalidSchedule, match="Two schedules are named 'reports'"):

        @schedule("@daily", name="reports")
        @handler("report:late")
        def late(delivery): ...
