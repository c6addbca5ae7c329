"""The names that a project may rely on. To change a list here is a decision, not a repair."""

from __future__ import annotations

import subprocess
import sys
from importlib import import_module

import pytest

import django_letsgo_worker
from tests.architecture.source import below

PUBLIC = {
    "enqueue",
    "aenqueue",
    "enqueue_many",
    "handler",
    "schedule",
    "calendar",
    "message_type",
    "Delivery",
    "Retry",
    "Snooze",
    "Reject",
    "LetsGoError",
    "__version__",
}

HOMES = {
    "messages": "find cancel redrive prune",
    "schedules": "add update ensure remove enable disable run_now",
    "inspection": "Explanation explain is_alive state_of",
    "models": "Message ArchivedMessage DeadLetter ScheduledJob Occurrence Process Queue",
    "signals": "message_enqueued delivery_started delivery_finished lease_lost occurrence_fired message_died",
    "testing": "drain fire_due assert_enqueued occurrences_between ImmediateBackend RecordingBackend",
    "recurrence": "Recurrence",
    "context": "carrier correlation_id get_correlation_id CorrelationFilter trace get_trace",
    "errors": "LetsGoError InvalidMessage InvalidSchedule DuplicateMessage DuplicateHandler "
    "DuplicateMessageType DuplicateCalendar UnknownType LeaseLost OutcomeRefused WorkerDied MessageNotFound "
    "ScheduleNotFound AppsNotReady",
}  # fmt: skip


def run_without_django(code: str) -> str:
    """Run code in a fresh interpreter that has no Django settings; return what it prints."""
    done = subprocess.run([sys.executable, "-c", code], env={}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_the_public_names_are_these():
    assert set(django_letsgo_worker.__all__) == PUBLIC
    assert len(django_letsgo_worker.__all__) == len(PUBLIC)


@pytest.mark.parametrize("name", sorted(PUBLIC))
def test_a_public_name_is_there(name):
    assert getattr(django_letsgo_worker, name)
    assert name in dir(django_letsgo_worker)


@pytest.mark.parametrize(
    ("module", "name"), [(module, name) for module, names in HOMES.items() for name in names.split()]
)
def test_a_public_name_of_a_module_is_there(module, name):
    assert getattr(import_module(f"django_letsgo_worker.{module}"), name)


def test_another_name_is_an_attribute_error_that_says_so():
    with pytest.raises(AttributeError, match="'django_letsgo_worker' has no attribute 'dequeue'"):
        _ = django_letsgo_worker.dequeue


def test_importing_the_package_needs_no_django_and_loads_no_model():
    loaded = run_without_django("import sys, django_letsgo_worker; print(*sys.modules)").split()
    assert "django_letsgo_worker" in loaded
    assert [name for name in loaded if name == "django" or name.startswith("django_letsgo_worker.")] == []


@pytest.mark.parametrize(
    "name", ["Delivery", "LetsGoError", "Reject", "Retry", "Snooze", "calendar", "handler", "message_type"]
)
def test_a_name_of_the_ground_floor_needs_no_configured_django(name):
    code = f"import sys; from django_letsgo_worker import {name}; print(*sys.modules)"
    assert "django_letsgo_worker.models" not in run_without_django(code).split()


def test_the_ground_floor_loads_without_settings():
    code = f"import sys; from django_letsgo_worker import {', '.join(below('models'))}; print(*sys.modules)"
    assert "django_letsgo_worker.models" not in run_without_django(code).split()
