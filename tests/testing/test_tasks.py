"""testing.ImmediateBackend and RecordingBackend: production's tasks and checks, without its database."""

from __future__ import annotations

import pytest
from asgiref.sync import async_to_sync
from django.test import override_settings

from django_letsgo_worker import registry, testing
from django_letsgo_worker.backend import LetsGoBackend, LetsGoTask, discovery
from django_letsgo_worker.backend.compat import (
    InvalidTask,
    InvalidTaskBackend,
    TaskResultDoesNotExist,
    TaskResultStatus,
    task_backends,
    task_enqueued,
    task_finished,
)
from django_letsgo_worker.errors import InvalidMessage
from django_letsgo_worker.testing import drain
from tests.taskapp import TASKS
from tests.testapp.models import Entry

with override_settings(TASKS=TASKS):
    from tests.taskapp import tasks

BOTH = ["ImmediateBackend", "RecordingBackend"]
ours = pytest.mark.parametrize("name", [*BOTH, pytest.param("production", marks=pytest.mark.django_db)])


def settings_of(name):
    path = f"django_letsgo_worker.testing.{name}"
    return {alias: {**facts, "BACKEND": path} for alias, facts in TASKS.items()}


@pytest.fixture
def use(settings, monkeypatch):
    """Let the tasks of the tests be those of a backend: use("ImmediateBackend") is that."""
    monkeypatch.setattr(registry, "_handlers", {})

    def choose(name):
        settings.TASKS = TASKS if name == "production" else settings_of(name)
        return task_backends["default"]

    return choose


@pytest.mark.parametrize("name", BOTH)
def test_it_is_the_backend_of_production_by_its_tasks_and_flags(use, name):
    backend = use(name)

    assert isinstance(backend, LetsGoBackend)
    assert type(backend) is getattr(testing, name)
    assert backend.task_class is LetsGoTask
    assert (backend.supports_defer, backend.supports_async_task, backend.supports_priority) == (True,) * 3
    assert not backend.supports_get_result


def nested(levels):
    return [nested(levels - 1)] if levels else []


UNFIT = {
    "a set": {1},
    "NaN": float("nan"),
    "NUL": "NUL \0",
    "a surrogate": "\ud800",
    "too much": "x" * 300_000,
    "too deep": nested(25),
}


@ours
@pytest.mark.parametrize("argument", UNFIT.values(), ids=UNFIT)
def test_arguments_that_production_refuses_are_refused(use, name, argument):
    use(name)

    with pytest.raises((TypeError, ValueError)):
        tasks.echo.enqueue(argument)


@ours
@pytest.mark.parametrize("changes", [{"queue_name": "a b"}, {"priority": 101}])
def test_tasks_that_production_refuses_are_refused(use, name, changes):
    use(name)

    with pytest.raises(InvalidTask):
        tasks.echo.using(**changes).enqueue()


@ours
def test_options_that_production_refuses_are_refused(use, settings, name):
    use(name)
    facts = settings.TASKS["default"]
    settings.TASKS = {"default": {**facts, "OPTIONS": {"MAX_ATEMPTS": 3}}}

    with pytest.raises(InvalidTaskBackend, match="MAX_ATTEMPTS"):
        task_backends["default"]


@pytest.mark.django_db
class TestDrain:
    def test_it_runs_the_tasks_of_production(self, use):
        use("production")
        result = tasks.write.enqueue(7)

        assert drain() == 1
        result.refresh()
        assert result.status == TaskResultStatus.SUCCESSFUL
        assert Entry.objects.get().n == 7

    def test_it_runs_an_async_one(self, use):
        use("production")
        result = tasks.write_later.enqueue(7)

        assert drain() == 1
        result.refresh()
        assert result.return_value == 1

    def test_it_runs_one_that_is_only_known_by_its_path(self, use, monkeypatch):
        use("production")
        result = tasks.write.enqueue(7)
        registry.remove(f"letsgo:task:{tasks.write.module_path}")
        monkeypatch.setattr(discovery, "_looked_for", set())

        assert drain() == 1
        result.refresh()
        assert result.status == TaskResultStatus.SUCCESSFUL


class TestImmediate:
    def test_a_task_has_run_when_enqueue_returns(self, use):
        use("ImmediateBackend")

        result = tasks.echo.enqueue(1, (2,), key={3: "three"})

        assert result.status == TaskResultStatus.SUCCESSFUL
        assert result.return_value == [[1, [2]], {"key": {"3": "three"}}], "as the database gives them back"

    def test_a_task_that_fails_has_failed(self, use):
        use("ImmediateBackend")

        result = tasks.fail.enqueue("too bad")

        assert result.status == TaskResultStatus.FAILED
        assert result.errors[0].exception_class is ValueError
        assert "too bad" in result.errors[0].traceback

    def test_one_that_is_put_off_runs_at_once_too(self, use):
        from datetime import timedelta

        from django.utils import timezone

        use("ImmediateBackend")
        later = timezone.now() + timedelta(days=1)

        assert tasks.echo.using(run_after=later).enqueue().status == TaskResultStatus.SUCCESSFUL

    def test_it_tells_djangos_signals(self, use):
        backend, heard = use("ImmediateBackend"), []

        def receive(sender, task_result, **facts):
            heard.append((sender, task_result.status))

        task_finished.connect(receive)
        try:
            tasks.echo.enqueue()
        finally:
            task_finished.disconnect(receive)
        assert heard == [(type(backend), TaskResultStatus.SUCCESSFUL)]

    def test_its_results_are_nowhere_to_be_asked_for(self, use):
        use("ImmediateBackend")
        result = tasks.echo.enqueue()

        with pytest.raises(NotImplementedError):
            task_backends["default"].get_result(result.id)


class TestRecording:
    def test_a_task_is_noted_down_and_not_run(self, use):
        backend = use("RecordingBackend")

        result = tasks.fail.using(priority=5).enqueue("never")

        assert result.status == TaskResultStatus.READY
        (noted,) = backend.results
        assert (noted.task.func, noted.args, noted.task.priority) == (tasks.fail.func, ["never"], 5)
        assert backend.get_result(result.id).id == result.id

    def test_it_is_emptied_between_tests(self, use):
        backend = use("RecordingBackend")
        result = tasks.echo.enqueue()
        backend.clear()

        assert backend.results == []
        with pytest.raises(TaskResultDoesNotExist):
            backend.get_result(result.id)

    def test_it_tells_djangos_signal(self, use):
        backend, heard = use("RecordingBackend"), []

        def receive(sender, task_result, **facts):
            heard.append(sender)

        task_enqueued.connect(receive)
        try:
            async_to_sync(tasks.echo.aenqueue)()
        finally:
            task_enqueued.disconnect(receive)
        assert heard == [type(backend)]

    def test_what_is_too_large_names_the_setting(self, use, settings):
        settings.LETSGO_WORKER = {"MAX_PAYLOAD_BYTES": 100}
        use("RecordingBackend")

        with pytest.raises(InvalidMessage, match="at most 100"):
            tasks.echo.enqueue("x" * 200)
