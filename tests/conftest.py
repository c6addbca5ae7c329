"""Fixtures of all tests: which engine, a test database that other processes can open, manage.py."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from django.conf import settings
from django.db import connection, connections

from .support import ROOT, Managed, database_url, engine_of

# These know no database, or one engine is as good as another: they run on SQLite.
ONE_ENGINE_IS_ENOUGH = ("unit", "architecture", "browser", "property/test_recurrence")

# Tests of processes, commands and pages, which a busy machine can fail in many ways: with --reruns they have
# a second try. What races, and what must never break, is in the other folders, and has one.
HAVE_A_SECOND_TRY = ("motion", "doors", "seeds", "browser")


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    named_on_the_command_line = config.args_source is pytest.Config.ArgsSource.ARGS
    if named_on_the_command_line or engine_of(settings.DATABASES["default"]) == "sqlite":
        return None
    inside = collection_path.relative_to(ROOT / "tests").as_posix()
    return True if inside.startswith(ONE_ENGINE_IS_ENOUGH) else None


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if not config.getoption("reruns", None):
        return
    for item in items:
        if item.path.relative_to(ROOT / "tests").as_posix().startswith(HAVE_A_SECOND_TRY):
            item.add_marker(pytest.mark.flaky(reruns=1, only_rerun="."))


@pytest.fixture(scope="session")
def engine() -> str:
    """The engine that the tests run on: sqlite, postgres or mariadb."""
    return engine_of(settings.DATABASES["default"])


@pytest.fixture(scope="session")
def django_db_modify_db_settings(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Make SQLite's test database a file: a private one in memory is closed to other processes."""
    for alias in connections:
        database = connections[alias].settings_dict
        if engine_of(database) == "sqlite":
            database["TEST"]["NAME"] = str(tmp_path_factory.mktemp("database") / f"{alias}.sqlite3")


@pytest.fixture
def test_database_url(transactional_db: None) -> str:
    """The URL of the test database, for processes that the test starts itself."""
    return database_url(connection.settings_dict)


@pytest.fixture
def manage(test_database_url: str) -> Iterator[Callable[..., Managed]]:
    """Start a real manage.py on the test database: manage("runworker", "--concurrency", "2").

    `env` adds environment variables, `settings_module` names other settings. All that it started is
    killed when the test ends, before the tables are emptied.
    """
    started: list[Managed] = []

    def start(
        *arguments: object, env: dict[str, str] | None = None, settings_module: str = "testproject.settings"
    ) -> Managed:
        environment = {
            **os.environ,
            "PYTHONUNBUFFERED": "1",
            "PYTHONPATH": str(ROOT),
            "DATABASE_URL": test_database_url,
            "DJANGO_SETTINGS_MODULE": settings_module,
            **(env or {}),
        }
        started.append(Managed(tuple(str(argument) for argument in arguments), environment))
        return started[-1]

    yield start
    for process in started:
        process.clean_up()


@pytest.fixture(autouse=True)
def declared_schedules() -> Iterator[None]:
    """Forget the schedules that a test declared: every scheduler after it would bring them in step."""
    from django_letsgo_worker import declarations

    before = {declared.name for declared in declarations.declared()}
    yield
    for declared in declarations.declared():
        if declared.name not in before:
            declarations.remove(declared.name)
