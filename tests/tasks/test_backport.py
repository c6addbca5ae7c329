"""Which projects import our backend at all, and which versions of the backport it stands on.

Versions that are not installed are stood in for by the one that is, with the names that they have.
"""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.support import ROOT
from tests.taskapp import BACKEND, TASKS
from tests.taskapp.framework import NAME

needs_the_backport = pytest.mark.skipif(NAME == "django.tasks", reason="Django has tasks of its own")

IMPORTED = "import sys; print('It is imported:', 'django_letsgo_worker.backend' in sys.modules)"
LIFE = """
from django_tasks import task_backends
from django_tasks.exceptions import InvalidTask, InvalidTaskBackend, TaskResultDoesNotExist
from django_letsgo_worker.backend import compat
from django_letsgo_worker.testing import drain
from tests.taskapp import tasks

assert compat.InvalidTask is InvalidTask and compat.InvalidTaskBackend is InvalidTaskBackend
result = tasks.echo.enqueue(1)
assert drain() == 1
result.refresh()
print("It returned", result.return_value)
try:
    tasks.echo.using(queue_name="a b")
except InvalidTask as error:
    print("Refused:", error)
try:
    task_backends["default"].get_result("1")
except TaskResultDoesNotExist:
    print("There is no such result.")
"""
# What these versions say instead of the words of the one that is installed.
OLD = {
    "0.8.1": {"TaskResultStatus": "ResultStatus", "TaskResultDoesNotExist": "ResultDoesNotExist"},
    "0.11.0": {"SUCCESSFUL": "SUCCEEDED"},
}
MAIN = {"InvalidTaskError": "InvalidTask", "InvalidTaskBackendError": "InvalidTaskBackend"}


@pytest.fixture
def project(manage, tmp_path):
    """Start manage.py with these TASKS: project(arguments, tasks=..., modules={"name": "source"})."""

    def start(*arguments, tasks, **modules):
        modules["chosen"] = f"from tests.testapp.settings import *\nTASKS = {tasks!r}\n"
        for name, source in modules.items():
            (tmp_path / f"{name}.py").write_text(source)
        path = os.pathsep.join([str(tmp_path), str(ROOT)])
        return manage(*arguments, settings_module="chosen", env={"PYTHONPATH": path})

    return start


@pytest.fixture
def stand_in(tmp_path):
    """Put the backport under other names before the one that is installed, as this version."""

    def write(version, names):
        home = Path(find_spec("django_tasks").origin).parent
        for source in home.rglob("*.py"):
            text = source.read_text()
            for name, other in names.items():
                text = text.replace(name, other)
            copy = tmp_path / "django_tasks" / source.relative_to(home)
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_text(text)
        facts = tmp_path / f"django_tasks-{version}.dist-info"
        facts.mkdir()
        (facts / "METADATA").write_text(f"Metadata-Version: 2.1\nName: django-tasks\nVersion: {version}\n")

    return write


def said(process):
    process.wait()
    return process.output


OURS = [BACKEND, "backends.Ours"]
ON_TOP = {"backends": "import django_letsgo_worker.backend as b\nclass Ours(b.LetsGoBackend): ..."}


class TestWhoImportsIt:
    @pytest.mark.parametrize(
        "tasks",
        [
            {},
            {"default": {"BACKEND": f"{NAME}.backends.dummy.DummyBackend"}},
            {"default": {"BACKEND": "shop.backends.Vanished"}},
            {"default": {"BACKEND": "breaks.Backend"}},
            {"default": {"BACKEND": None}, "other": {}, "third": "text"},
        ],
        ids=["none", "another", "one that is not there", "one whose module breaks", "nonsense"],
    )
    def test_no_process_whose_tasks_are_anothers(self, project, tasks):
        process = project("shell", "-c", IMPORTED, tasks=tasks, breaks="raise RuntimeError('at import')")

        assert "It is imported: False" in said(process)

    @pytest.mark.parametrize("path", [*OURS, "django_letsgo_worker.testing.RecordingBackend"])
    def test_each_process_whose_tasks_are_ours(self, project, path):
        process = project("shell", "-c", IMPORTED, tasks={"default": {"BACKEND": path}}, **ON_TOP)

        assert "It is imported: True" in said(process)


@needs_the_backport
class TestVersions:
    @pytest.mark.parametrize("path", OURS)
    @pytest.mark.parametrize("version", OLD)
    def test_one_that_will_not_do_is_said_in_one_sentence(self, project, stand_in, version, path):
        stand_in(version, OLD[version])
        process = project("check", tasks={"default": {"BACKEND": path}}, **ON_TOP)

        output = said(process)
        assert process.wait() == 1 and "Traceback" not in output
        assert "(letsgo_tasks.E003) LetsGoBackend needs django-tasks 0.12 or newer, and " in output
        assert f" and {version} is installed (" in output
        assert "): python -m pip install 'django-tasks>=0.12', or name another backend in TASKS." in output

    @pytest.mark.parametrize("version", OLD)
    def test_one_that_will_not_do_stops_nobody_else(self, project, stand_in, version):
        stand_in(version, OLD[version])
        other = {"default": {"BACKEND": "django_tasks.backends.dummy.DummyBackend"}}

        worker = project("runworker", "--until-empty", tasks=other)
        assert worker.wait() == 0, worker.output

    def test_a_backport_that_cannot_be_imported_is_said_with_its_reason(self, project, tmp_path):
        (tmp_path / "django_tasks.py").write_text("import a_package_that_nobody_has")

        output = said(project("check", tasks={"default": {"BACKEND": BACKEND}}))
        assert "No module named 'a_package_that_nobody_has'" in output and "letsgo_tasks.E003" in output

    def test_the_names_of_its_main_branch_are_known(self, project, stand_in):
        stand_in("0.13.0", MAIN)
        process = project("shell", "-c", LIFE, tasks=TASKS)

        output = said(process)
        assert "It returned [[1], {}]" in output, output
        assert "Refused: The queue 'a b' is refused" in output
        assert "There is no such result." in output


def test_the_sentence_says_that_it_is_missing():
    from django_letsgo_worker.errors import UnfitTasks

    assert "newer, and it is not installed (no module): python -m pip" in str(UnfitTasks(None, "no module"))
