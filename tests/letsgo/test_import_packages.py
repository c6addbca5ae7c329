"""letsgo import beside the real packages: their own migrations, their own rows, processes, one database file.

The other tests have the same rows from rows.json; here it is held against what the packages make now.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from tests.importsources.tables import MADE
from tests.support import ROOT

PACKAGES = {
    "celery-beat": ("django_celery_beat", "django_celery_beat"),
    "django-q2": ("django_q", "django_q"),
    "django-tasks-db": ("django_tasks_db", "django_tasks_database"),
}
# By table: what is another one each time.
BY_CHANCE = {
    "django_q_ormq": {"payload", "lock"},
    "django_tasks_database_dbtaskresult": {"id", "enqueued_at", "started_at", "finished_at"},
}
pytestmark = pytest.mark.skipif(
    not any(find_spec(module) for module, _table in PACKAGES.values()), reason="none of the packages is here"
)


def process(database: Path, *arguments: str) -> str:
    environment = {
        **os.environ,
        "DATABASE_URL": f"sqlite:///{database}",
        "DJANGO_SETTINGS_MODULE": "tests.importsources.settings",
        "PYTHONPATH": str(ROOT),
    }
    done = subprocess.run(
        [sys.executable, *arguments], env=environment, cwd=ROOT, capture_output=True, text=True, timeout=100
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="session")
def database(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("packages") / "project.sqlite3"


@pytest.fixture(scope="session")
def made(database) -> dict[str, Any]:
    """What the packages that are here have made in a database of their own."""
    return json.loads(process(database, "-m", "tests.importsources.make", "rows"))


# The plan, and what --apply does twice, each as JSON on a line.
PROGRAM = """
import django, io, json, sys
django.setup()
from django.core.management import call_command
for words in ([], ["--apply"], ["--apply"]):
    out = io.StringIO()
    call_command("letsgo", "import", sys.argv[1], "--json", *words, stdout=out)
    print(json.dumps(json.loads(out.getvalue())))
"""


def comparable(name: str, table: dict[str, Any]) -> Any:
    kept = [place for place, column in enumerate(table["columns"]) if column not in BY_CHANCE.get(name, ())]
    return table["columns"], sorted(str([row[place] for place in kept]) for row in table["rows"])


@pytest.mark.parametrize("package", PACKAGES)
def test_the_rows_of_the_other_tests_are_those_that_the_package_makes(package, made):
    module, begin = PACKAGES[package]
    pytest.importorskip(module)
    recorded = {name: table for name, table in MADE["tables"].items() if name.startswith(begin)}
    assert recorded
    for name, table in recorded.items():
        assert comparable(name, made["tables"][name]) == comparable(name, table)
    theirs = {name: runs for name, runs in MADE["runs"].items() if name.startswith(f"{package}/")}
    assert {name: runs for name, runs in made["runs"].items() if name.startswith(f"{package}/")} == theirs


@pytest.mark.parametrize("package", PACKAGES)
def test_real_tables_are_planned_and_taken_over_once(package, made, database):
    module, _begin = PACKAGES[package]
    pytest.importorskip(module)
    plan, done, again = map(json.loads, process(database, "-c", PROGRAM, package).splitlines())
    assert {row["verdict"] for row in plan} >= {"same", "skipped"}
    assert {row["does"] for row in plan} == {"add", "nothing"}
    adds = [row["does"] == "add" for row in plan]
    assert [row["does"] for row in done] == ["added" if one else "skipped" for one in adds]
    assert [row["does"] for row in again] == ["unchanged" if one else "skipped" for one in adds]
