"""The pytest plugin, and docs/howto/testing.md, in a pytest of their own, on SQLite in memory."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from importlib import import_module

import pytest
from django.utils.module_loading import import_string

from django_letsgo_worker import testing
from tests.docs.test_snippets import snippets_of
from tests.support import ROOT

PLUGIN = "django_letsgo_worker.testing.plugin"
PAGE = ROOT / "docs" / "howto" / "testing.md"
SNIPPETS = [snippet.text for snippet in snippets_of(PAGE) if snippet.language == "python"]

FIXTURES = """
import pytest
from django.db import connection

from django_letsgo_worker import enqueue, registry, schedules
from django_letsgo_worker.messages import find


def test_a_fixture_brings_the_database(letsgo_drain):
    assert connection.in_atomic_block
    assert letsgo_drain() == 0


@pytest.mark.django_db(transaction=True)
def test_a_mark_says_which_kind(letsgo_drain):
    assert not connection.in_atomic_block


def test_another_fixture_says_so_too(letsgo_drain, transactional_db):
    assert not connection.in_atomic_block


def test_a_handler_for_one_test_takes_the_place_of_the_projects(letsgo_handler, letsgo_drain):
    project = registry.get("mail:send").function
    letsgo_handler("mail:send", where={"a": 1})(lambda delivery: "narrow")
    letsgo_handler("mail:send")(lambda delivery: "plain")
    letsgo_handler("t:new")(lambda delivery: "new")
    narrow, plain, new = enqueue("mail:send", {"a": 1}), enqueue("mail:send"), enqueue("t:new")
    assert letsgo_drain() == 3
    assert [find(message.pk).result for message in (narrow, plain, new)] == ["narrow", "plain", "new"]
    assert registry.get("mail:send").function is not project


def test_the_projects_is_back():
    assert registry.get("mail:send").function.__name__ == "send_invoice"
    assert registry.find("t:new") is None


def test_schedules_and_questions_have_fixtures(letsgo_fire_due, letsgo_assert_enqueued):
    row = schedules.add("it", "rate(1 hour)", "t:it")
    assert letsgo_fire_due(row.next_run_at) == letsgo_assert_enqueued("t:it")
"""

LEFT_BEHIND = """
import pytest
from django.db import connection, transaction

from django_letsgo_worker import enqueue, handler
from django_letsgo_worker.models import ArchivedMessage
from django_letsgo_worker.testing import drain

pytestmark = pytest.mark.django_db(transaction=True)
leave = None


@handler("t:leave")
def leave_something(delivery):
    assert not connection.in_atomic_block
    assert connection.get_autocommit()
    assert not connection.connection.in_transaction
    leave()


@pytest.mark.parametrize("what", [
    lambda: transaction.atomic().__enter__(),
    lambda: transaction.set_autocommit(False),
    lambda: connection.cursor().execute("BEGIN"),
    lambda: connection.close(),
])
def test_a_database_in_memory_is_tidied_up(what):
    global leave
    leave = what
    assert connection.is_in_memory_db()
    enqueue("t:leave")
    enqueue("t:leave")
    assert drain() == 2
    assert ArchivedMessage.objects.filter(outcome="succeeded").count() == 2
    assert not connection.connection.in_transaction
"""

WITHOUT_DJANGO = """
import sys


def test_nothing_of_django_was_loaded():
    assert [name for name in sys.modules if name.partition(".")[0] == "django"] == []
"""

WITHOUT_PYTEST_DJANGO = """
import django

django.setup()


def test_a_fixture_brings_no_database(letsgo_drain):
    from django_letsgo_worker.testing import drain

    assert letsgo_drain is drain
"""


def run_pytest(directory, *plugins, settings="testproject.settings"):
    """Run pytest on a directory with these plugins alone; return its exit code and its words."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("DJANGO_")}
    environment |= {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTHONPATH": str(ROOT)}
    environment["DATABASE_URL"] = f"sqlite:///{directory / 'never made.sqlite3'}"
    if settings:
        environment["DJANGO_SETTINGS_MODULE"] = settings
    chosen = [word for plugin in plugins for word in ("-p", plugin)]
    arguments = ["-c", os.devnull, "--rootdir", str(directory), "-p", "no:cacheprovider", *chosen]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *arguments, str(directory)],
        cwd=directory,
        env=environment,
        capture_output=True,
        text=True,
    )
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize("text", [FIXTURES, LEFT_BEHIND], ids=["fixtures", "left behind"])
def test_the_plugin_in_a_project(tmp_path, text):
    (tmp_path / "test_it.py").write_text(text)

    code, output = run_pytest(tmp_path, "pytest_django.plugin", PLUGIN)

    assert code == 0, output


def test_without_django_it_loads_nothing_of_it(tmp_path):
    (tmp_path / "test_it.py").write_text(WITHOUT_DJANGO)

    code, output = run_pytest(tmp_path, PLUGIN, settings=None)

    assert code == 0, output


def test_without_pytest_django_its_fixtures_are_there(tmp_path):
    (tmp_path / "test_it.py").write_text(WITHOUT_PYTEST_DJANGO)

    code, output = run_pytest(tmp_path, PLUGIN)

    assert code == 0, output


def test_pytest_finds_it_by_the_entry_point():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    (name,) = project["entry-points"]["pytest11"].values()

    assert name == PLUGIN
    assert import_module(name).pytest_configure


def test_every_test_of_the_page_passes(tmp_path):
    expected = 0
    for number, text in enumerate(SNIPPETS):
        if "def test_" in text:
            expected += len(re.findall(r"^ *(?:async )?def test_", text, re.MULTILINE))
            # As a module of the shop's own tests would import them.
            text = re.sub(r"^from \.", "from testproject.shop.", text, flags=re.MULTILINE)
            (tmp_path / f"test_snippet_{number}.py").write_text(text)

    code, output = run_pytest(tmp_path, "pytest_django.plugin", PLUGIN)

    assert code == 0, output
    assert re.search(rf"\b{expected} passed\b", output), output


def test_the_backend_of_the_page_is_there():
    (path,) = re.findall(r'"BACKEND": "(.+?)"', PAGE.read_text())

    assert import_string(path)


def test_the_helpers_and_fixtures_of_the_page_are_all_there_are():
    rows = [line.split("|")[1] for line in PAGE.read_text().splitlines() if line.startswith("| `")]
    named = {name for row in rows for name in re.findall(r"`(\w+)", row)}
    fixtures = {name for name in vars(import_module(PLUGIN)) if name.startswith("letsgo_")}
    assert named == fixtures | set(testing.__all__)
