"""Fixtures of all tests: which engine, a test database that other processes can open, manage.py."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from django.conf import settings
from django.core.management.color import no_style
from django.db import connection, connections
from django.test import TransactionTestCase

from .support import ROOT, Managed, database_url, engine_of

# One engine is as good as another for these: they run on SQLite, and so does what asks for no database.
ONE_ENGINE_IS_ENOUGH = (
    "unit",
    "architecture",
    "browser",
    "property/test_recurrence",
    "docs/test_newcomers_walk",
)
ASK_FOR_A_DATABASE = {"db", "transactional_db", "engine"}

# What races, and what must never break, has one try. All others are tests of processes, commands and pages,
# which a busy machine can fail in many ways: with --reruns they have a second one.
HAVE_ONE_TRY = ("architecture", "chaos", "conformance", "property", "unit")

FILLED_BY_MIGRATE = {"django_content_type", "auth_permission"}


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--without-fastpath", action="store_true", help="PostgreSQL: everything through Django's own cursors"
    )


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "fastpath: it says something of PostgreSQL's fast path itself")
    if config.getoption("without_fastpath"):
        from .testapp.guards import switch_off

        # Here, and in all processes that tests start.
        os.environ["TESTAPP_WITHOUT"] = "the fast path"
        switch_off("the fast path")


def runs_for_all_engines(config: pytest.Config) -> bool:
    """Whether what knows no database is left out: SQLite runs it. What somebody named always runs."""
    named_on_the_command_line = config.args_source is pytest.Config.ArgsSource.ARGS
    return not named_on_the_command_line and engine_of(settings.DATABASES["default"]) != "sqlite"


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    inside = collection_path.relative_to(ROOT / "tests").as_posix()
    return True if inside.startswith(ONE_ENGINE_IS_ENOUGH) and runs_for_all_engines(config) else None


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if runs_for_all_engines(config):
        left_out = [item for item in items if not asks_for_a_database(item)]
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if asks_for_a_database(item)]
    if config.getoption("without_fastpath"):
        for item in items:
            if item.get_closest_marker("fastpath"):
                item.add_marker(pytest.mark.skip(reason="The fast path is off."))
    if not config.getoption("reruns", None):
        return
    for item in items:
        if not item.path.relative_to(ROOT / "tests").as_posix().startswith(HAVE_ONE_TRY):
            item.add_marker(pytest.mark.flaky(reruns=1, only_rerun="."))


def asks_for_a_database(item: pytest.Item) -> bool:
    if issubclass(getattr(item, "cls", None) or object, TransactionTestCase):
        return True
    fixtures = getattr(item, "fixturenames", ())
    return item.get_closest_marker("django_db") is not None or not ASK_FOR_A_DATABASE.isdisjoint(fixtures)


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """How many tests `-n auto` runs at once: most wait for processes, so more than there are processors.

    One, in this very process, where a few were picked by name, or where somebody looks on.
    """
    picked = config.getoption("keyword") or any("::" in one or one.endswith(".py") for one in config.args)
    looked_on = config.getoption("capture") == "no" or config.getoption("lf", False)
    return 0 if picked or looked_on else 2 * (os.cpu_count() or 1)


@pytest.hookimpl(wrapper=True)
def pytest_report_to_serializable() -> Generator[None, Any, Any]:
    """Write what a test captured so that it can be sent: lone surrogates break the pipe of pytest-xdist."""
    return _sendable((yield))


def _sendable(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode(errors="backslashreplace").decode()
    if isinstance(value, dict):
        return {key: _sendable(one) for key, one in value.items()}
    return type(value)(map(_sendable, value)) if isinstance(value, (list, tuple)) else value


@pytest.fixture(scope="session")
def engine() -> str:
    """The engine that the tests run on: sqlite, postgres or mariadb."""
    return engine_of(settings.DATABASES["default"])


@pytest.fixture(scope="session")
def django_db_modify_db_settings(
    django_db_modify_db_settings_parallel_suffix: None, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Make SQLite's test database a file: a private one in memory is closed to other processes.

    Each process of pytest-xdist has databases of its own: servers' are named after it, files are in its
    directory.
    """
    for alias in connections:
        database = connections[alias].settings_dict
        if engine_of(database) == "sqlite":
            database["TEST"]["NAME"] = str(tmp_path_factory.mktemp("database") / f"{alias}.sqlite3")


@pytest.fixture(scope="session", autouse=True)
def tables_are_emptied_in_one_statement() -> Iterator[None]:
    """After a test that commits, empty all tables but those that migrate fills, which is not asked again.

    Django has content types and permissions made once more after each such test: ten times the work.
    """

    def empty(case: TransactionTestCase) -> None:
        for alias in case._databases_names(include_mirrors=False):
            there = connections[alias].introspection.django_table_names(
                only_existing=True, include_views=False
            )
            tables = [table for table in there if table not in FILLED_BY_MIGRATE]
            operations = connections[alias].ops
            operations.execute_sql_flush(operations.sql_flush(no_style(), tables))

    with mock.patch.object(TransactionTestCase, "_fixture_teardown", empty):
        yield


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


@pytest.fixture(autouse=True)
def lines_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no test share the hundred lines of a second with the test before it."""
    from django_letsgo_worker import logs

    for name in ("_successes", "_occurrences"):
        crowd = getattr(logs, name)
        fresh = logs.Crowd(crowd._logger, crowd._summary, crowd._noun, crowd._event)
        monkeypatch.setattr(logs, name, fresh)


@pytest.fixture
def handle() -> Iterator[Callable[..., Any]]:
    """Register a function for the time of one test: @handle("t:x", max_attempts=3)."""
    from django_letsgo_worker import registry

    registered: list[str] = []

    def register(type: str, **options: Any) -> Callable[[Any], Any]:
        registered.append(type)
        return registry.handler(type, **options)

    yield register
    for type in registered:
        registry.remove(type)


@pytest.fixture
def own_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Begin with an empty register of handlers, which is thrown away."""
    from django_letsgo_worker import registry

    monkeypatch.setattr(registry, "_handlers", {})


@pytest.fixture
def own_registries(own_registry: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same, with empty registers of the classes of typed messages."""
    from django_letsgo_worker import typed

    monkeypatch.setattr(typed, "_by_type", {})
    monkeypatch.setattr(typed, "_by_class", {})
