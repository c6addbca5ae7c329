"""How workers come to know tasks: every app's tasks.py, the types of messages that wait, and no other way."""

from __future__ import annotations

import socket
import subprocess
import sys

import pytest
from django.apps import apps
from django.test import override_settings

from django_letsgo_worker import backend, registry
from django_letsgo_worker.backend import LetsGoBackend, discovery, message_id_of
from django_letsgo_worker.backend.compat import TaskResultStatus
from django_letsgo_worker.models import Message
from tests.support import ROOT, wait_until
from tests.taskapp import BACKEND, TASKS
from tests.taskapp.framework import NAME, default_task_backend

with override_settings(TASKS=TASKS):
    from tests.taskapp import elsewhere, tasks

SETTINGS = "tests.taskapp.settings"


@pytest.fixture(autouse=True)
def nothing_was_looked_for(our_tasks, monkeypatch):
    monkeypatch.setattr(discovery, "_looked_for", set())


@pytest.fixture
def module(tmp_path, monkeypatch):
    """Write a module that can be imported: module("name", "source")."""
    monkeypatch.syspath_prepend(tmp_path)
    written = []

    def write(name, source):
        path = tmp_path.joinpath(*name.split(".")).with_suffix(".py")
        path.parent.mkdir(exist_ok=True)
        path.write_text(source)
        written.append(name)
        return name

    yield write
    for name in written:
        sys.modules.pop(name, None)


class LooksLikeOurs(LetsGoBackend):
    """A project's own backend on top of ours."""


class TestWhichBackends:
    def test_those_whose_tasks_are_ours(self, settings):
        settings.TASKS = {
            "default": {"BACKEND": f"{NAME}.backends.dummy.DummyBackend"},
            "ours": {"BACKEND": BACKEND},
            "projects": {"BACKEND": f"{__name__}.LooksLikeOurs"},
            "vanished": {"BACKEND": "shop.backends.Vanished"},
            "nonsense": {"BACKEND": "os.getcwd"},
        }

        assert discovery.ours() == ["ours", "projects"]

    def test_without_any_no_module_is_imported(self, settings, monkeypatch):
        settings.TASKS = {"default": {"BACKEND": f"{NAME}.backends.dummy.DummyBackend"}}
        monkeypatch.setattr(discovery, "discover", None)

        backend.connect()

    def test_wrong_options_end_the_start(self, settings):
        settings.TASKS = {"default": {"BACKEND": BACKEND, "OPTIONS": {"RETRIES": 3}}}

        with pytest.raises(Exception, match="OPTIONS of TASKS\\['default'\\] has no 'RETRIES'"):
            backend.connect()


class TestDiscovery:
    @pytest.fixture
    def discover(self, monkeypatch):
        def discover(*modules):
            monkeypatch.setattr(registry, "modules_named", lambda name: modules)
            discovery.discover()

        return discover

    def test_the_apps_modules_are_asked_for_by_their_name(self):
        assert list(registry.modules_named("handlers"))[:1] == ["testproject.shop.handlers"]
        assert list(registry.modules_named("tasks")) == [
            f"{config.name}.tasks" for config in apps.get_app_configs() if _has_tasks(config)
        ]

    def test_a_module_of_tasks_is_imported(self, discover, module):
        discover(module("found.tasks", f"from {NAME} import task\n@task\ndef work(): pass\n"))

        assert registry.types() == ["letsgo:task:found.tasks.work"]

    def test_one_for_another_queue_is_left_out_and_said(self, discover, module, caplog):
        other = module("others.tasks", "import a_package_that_nobody_has")
        ours = module("found.tasks", f"from {NAME} import task\n@task\ndef work(): pass\n")
        discover(other, ours)

        assert "others.tasks is left out: it needs a_package_that_nobody_has" in caplog.text
        assert registry.types() == ["letsgo:task:found.tasks.work"]

    @pytest.mark.parametrize(
        "source", ["import broken.vanished", "1 / 0", "from os import vanished", "def :"], ids=repr
    )
    def test_one_that_is_broken_ends_the_start(self, discover, module, source):
        with pytest.raises((ImportError, ZeroDivisionError, SyntaxError)):
            discover(module("broken.tasks", source))


def _has_tasks(config):
    return (ROOT / config.name.replace(".", "/") / "tasks.py").exists()


class TestLookingForAType:
    def test_a_task_that_is_enqueued_to_a_backend_of_ours_by_name_has_our_options(self, settings, module):
        settings.TASKS = {
            "default": {"BACKEND": f"{NAME}.backends.dummy.DummyBackend"},
            "ours": TASKS["once"],
        }
        module("mixed", f"from {NAME} import task\n@task\ndef work(): pass\n")
        discovery.look_for("letsgo:task:mixed.work")

        assert registry.get("letsgo:task:mixed.work").max_attempts == 1

    def test_what_is_no_task_is_not_looked_for(self, caplog):
        discovery.look_for("order:new")

        assert caplog.text == "" and registry.types() == []

    @pytest.mark.parametrize("source", ["1 / 0", "raise SystemExit", "raise KeyboardInterrupt"])
    def test_a_module_that_fails_is_run_once_and_said(self, source, module, caplog, tmp_path):
        module("failing", f"open({str(tmp_path / 'runs')!r}, 'a').write('x')\n{source}")
        for _ in range(3):
            discovery.look_for("letsgo:task:failing.work")

        assert (tmp_path / "runs").read_text() == "x"
        assert caplog.text.count("Messages of the type letsgo:task:failing.work wait") == 1
        assert caplog.records[0].exc_info


@pytest.mark.django_db(transaction=True)
class TestARealWorker:
    def test_it_knows_every_apps_tasks(self, manage):
        result = tasks.echo.enqueue("far away")
        worker = manage("runworker", "--until-empty", settings_module=SETTINGS)

        assert worker.wait() == 0, worker.output
        result.refresh()
        assert (result.status, result.return_value) == (TaskResultStatus.SUCCESSFUL, [["far away"], {}])
        assert result.worker_ids == [f"{socket.gethostname()}:{worker.pid}"]

    def test_it_imports_a_task_that_waits_and_leaves_one_that_is_gone(self, manage):
        gone = tasks.echo.enqueue("gone")
        Message.objects.filter(pk=message_id_of(gone.id)).update(
            type="letsgo:task:tests.taskapp.tasks.vanished"
        )
        danger = tasks.echo.enqueue("danger")
        Message.objects.filter(pk=message_id_of(danger.id)).update(
            type="letsgo:task:tests.taskapp.elsewhere.plain"
        )
        found = elsewhere.overlooked.enqueue()

        worker = manage("runworker", settings_module=SETTINGS)
        for name in ("tasks.vanished", "elsewhere.plain"):
            worker.wait_for_line(f"letsgo:task:tests.taskapp.{name} wait")
        wait_until(lambda: default_task_backend.get_result(found.id).is_finished, what="the end of the task")
        assert worker.stop() == 0, worker.output

        assert default_task_backend.get_result(found.id).return_value == "found"
        assert set(Message.objects.values_list("pk", "attempts")) == {
            (message_id_of(gone.id), 0),
            (message_id_of(danger.id), 0),
        }


def test_tasks_can_be_made_before_the_apps_are_loaded():
    code = f"""
import sys
import django
from django.conf import settings

settings.configure(
    INSTALLED_APPS=["django_letsgo_worker"],
    DATABASES={{"default": {{"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}}}},
    TASKS={{"default": {{"BACKEND": "{BACKEND}"}}}},
)
sys.modules["shop"] = module = type(sys)("shop")
exec('''
from {NAME} import task

@task
def work():
    pass
''', module.__dict__)
assert "django_letsgo_worker.models" not in sys.modules
django.setup()
from django_letsgo_worker import registry
print(*registry.types())
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert "letsgo:task:shop.work" in done.stdout.split(), done.stderr
