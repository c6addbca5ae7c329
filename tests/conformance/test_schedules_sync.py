"""Schedules that the code declares: code decides what, people decide whether."""

from __future__ import annotations

import logging
from dataclasses import replace

import pytest

from django_letsgo_worker import registry, schedules
from django_letsgo_worker.delivery import Delivery
from django_letsgo_worker.errors import InvalidSchedule
from django_letsgo_worker.models import ScheduledJob
from django_letsgo_worker.schedules import Declared, declared_in_settings, sync_declared
from tests.conformance.schedule_support import HOUR, MINUTE, T0, add, fire, row, snapshot

pytestmark = pytest.mark.django_db

NIGHTLY = Declared(
    name="nightly", schedule="0 3 * * *", type="report:new", timezone="Europe/Berlin", payload={"a": 1}
)


class TestTheSetting:
    def test_gives_the_built_in_schedule_by_default(self):
        [declared] = declared_in_settings()
        assert (declared.name, declared.schedule, declared.timezone) == ("worker", "rate(1 hour)", "UTC")
        assert declared.type == "letsgo:scheduled"

    def test_changes_expression_and_zone(self, settings):
        settings.LETSGO_WORKER = {"SCHEDULE": "cron(0 9 * * *)", "SCHEDULE_TIMEZONE": "Europe/Berlin"}
        sync_declared(declared_in_settings(), now=T0)
        assert (row("worker").schedule, row("worker").timezone) == ("cron(0 9 * * *)", "Europe/Berlin")

    def test_that_is_empty_removes_the_row(self, settings):
        sync_declared(declared_in_settings(), now=T0)
        settings.LETSGO_WORKER = {"SCHEDULE": ""}
        sync_declared(declared_in_settings(), now=T0)
        assert not ScheduledJob.objects.exists()

    @pytest.mark.parametrize(
        ("key", "value"), [("SCHEDULE", "every day"), ("SCHEDULE_TIMEZONE", "Mars/Base")], ids=str
    )
    def test_that_cannot_be_read_is_named(self, settings, key, value):
        settings.LETSGO_WORKER = {key: value}
        with pytest.raises(InvalidSchedule, match=f"LETSGO_WORKER\\['{key}'\\]"):
            declared_in_settings()


class TestSynchronising:
    def test_adds_what_is_not_there(self):
        sync_declared([NIGHTLY], now=T0)
        job = row("nightly")
        assert job.declared_in_code and job.enabled
        assert (job.schedule, job.type, job.timezone, job.payload) == (
            "0 3 * * *",
            "report:new",
            "Europe/Berlin",
            {"a": 1},
        )
        assert job.next_run_at is not None

    def test_writes_nothing_when_equal(self, django_assert_num_queries):
        sync_declared([NIGHTLY], now=T0)
        before = snapshot()
        with django_assert_num_queries(2):
            sync_declared([NIGHTLY], now=T0 + HOUR)
        assert snapshot() == before

    def test_brings_the_row_in_step_and_counts_from_then(self):
        sync_declared([NIGHTLY], now=T0)
        sync_declared([replace(NIGHTLY, schedule="rate(1 hour)", payload=[2])], now=T0 + MINUTE)
        assert (row("nightly").payload, row("nightly").next_run_at) == ([2], T0 + MINUTE + HOUR)

    def test_undoes_what_people_did_to_the_expression(self):
        sync_declared([NIGHTLY], now=T0)
        schedules.update("nightly", schedule="rate(1 minute)", now=T0)
        sync_declared([NIGHTLY], now=T0)
        assert row("nightly").schedule == "0 3 * * *"

    def test_leaves_the_switch_to_people(self):
        sync_declared([NIGHTLY], now=T0)
        schedules.disable("nightly", by="ada", reason="noisy", now=T0)
        sync_declared([replace(NIGHTLY, payload=3)], now=T0 + HOUR)
        job = row("nightly")
        assert (job.enabled, job.switched_by, job.payload, job.next_run_at) == (False, "ada", 3, None)

    def test_leaves_the_fields_that_no_code_decides(self):
        sync_declared([NIGHTLY], now=T0)
        schedules.update("nightly", queue="low", misfire="all", now=T0)
        sync_declared([replace(NIGHTLY, payload=3)], now=T0)
        assert (row("nightly").queue, row("nightly").misfire) == ("low", "all")

    def test_switches_off_what_vanished_and_on_again_what_came_back(self):
        sync_declared([NIGHTLY], now=T0)
        sync_declared([], now=T0 + HOUR)
        job = row("nightly")
        assert (job.enabled, job.switch_reason, job.next_run_at) == (
            False,
            "no longer declared in code",
            None,
        )
        assert (job.switched_at, job.declared_in_code) == (T0 + HOUR, True)
        before = snapshot()
        sync_declared([], now=T0 + 2 * HOUR)
        assert snapshot() == before

        sync_declared([NIGHTLY], now=T0 + 3 * HOUR)

        assert row("nightly").enabled
        assert row("nightly").next_run_at is not None

    def test_leaves_a_row_that_somebody_made_by_hand(self, caplog):
        add("nightly")
        with caplog.at_level(logging.WARNING, "django_letsgo_worker.schedules"):
            sync_declared([NIGHTLY], now=T0)
        assert row("nightly").schedule == "rate(5 minutes)"
        assert "made by hand" in caplog.text
        sync_declared([], now=T0)
        assert row("nightly").enabled

    def test_refuses_a_declaration_that_is_wrong_by_its_name(self):
        with pytest.raises(InvalidSchedule, match="'nightly' is refused"):
            sync_declared([replace(NIGHTLY, schedule="nonsense")], now=T0)
        assert not ScheduledJob.objects.exists()


class TestTheBuiltInHandler:
    def deliver(self, now, caplog):
        caplog.clear()
        [message] = schedules.fire_due(now)
        message.refresh_from_db()
        return Delivery(
            message_id=message.pk,
            type=message.type,
            payload=message.payload,
            headers={},
            queue=message.queue,
            priority=0,
            attempt=1,
            max_attempts=10,
            receipt=1,
            enqueued_at=message.enqueued_at,
            planned_at=message.planned_at,
        )

    def test_logs_one_line_with_the_planned_time(self, caplog):
        sync_declared(declared_in_settings(), now=T0)
        delivery = self.deliver(T0 + HOUR + 30 * MINUTE, caplog)
        with caplog.at_level(logging.INFO, "django_letsgo_worker"):
            registry.get("letsgo:scheduled").function(delivery)
        [record] = caplog.records
        time = (T0 + HOUR).isoformat()
        assert record.getMessage() == (
            f"WORKER RECEIVED SCHEDULED EVENT ID {delivery.payload['id']} WITH TIMESTAMP {time}"
        )

    def test_logs_a_message_of_another_shape_as_well(self, caplog):
        add("mine", "rate(1 hour)", type="letsgo:scheduled", payload=["mine"])
        delivery = self.deliver(T0 + HOUR, caplog)
        with caplog.at_level(logging.INFO, "django_letsgo_worker"):
            registry.get("letsgo:scheduled").function(delivery)
        assert f"EVENT ID {delivery.message_id} WITH" in caplog.records[0].getMessage()


def test_a_broken_row_that_is_declared_is_mended_by_its_declaration():
    sync_declared([NIGHTLY], now=T0)
    ScheduledJob.objects.update(schedule="nonsense")
    fire(T0)
    assert row("nightly").state == "broken"
    sync_declared([NIGHTLY], now=T0)
    assert row("nightly").state == "on"
