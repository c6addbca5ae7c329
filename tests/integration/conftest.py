"""A second database of the same engine, under the alias `reports`, for tests of a project that has both."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from django.apps import apps
from django.db import connections
from django.test import override_settings

from django_letsgo_worker.routers import APP, LetsGoRouter
from tests.support import engine_of

ALIAS = "reports"


class Everywhere(LetsGoRouter):
    """As the how-to has it, in a project that keeps its other tables off that alias."""

    further_aliases = (ALIAS,)

    def allow_migrate(self, db: str, app_label: str, **hints: Any) -> bool | None:
        ours = super().allow_migrate(db, app_label, **hints)
        return db != ALIAS if ours is None else ours


@pytest.fixture(scope="module")
def reports(
    django_db_setup: None, django_db_blocker: Any, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """The alias of a second database, migrated, with our tables and no others."""
    entry = copy.deepcopy(connections["default"].settings_dict)
    name = f"{entry['NAME']}_reports"
    if engine_of(entry) == "sqlite":
        name = str(tmp_path_factory.mktemp("reports") / "reports.sqlite3")
    entry["NAME"] = entry["TEST"]["NAME"] = name
    connections.settings[ALIAS] = entry
    routers = override_settings(DATABASE_ROUTERS=[f"{__name__}.{Everywhere.__name__}"])
    routers.enable()
    creation = connections[ALIAS].creation
    with django_db_blocker.unblock():
        creation.create_test_db(verbosity=0, autoclobber=True)
    yield ALIAS
    with django_db_blocker.unblock():
        creation.destroy_test_db(name, verbosity=0)
    routers.disable()
    connections[ALIAS].close()
    del connections[ALIAS], connections.settings[ALIAS]


def rows(alias: str) -> dict[str, list[dict[str, Any]]]:
    """Return all rows that one database has of ours."""
    models = apps.get_app_config(APP).get_models()
    found = {
        model.__name__: list(model._base_manager.using(alias).order_by("pk").values()) for model in models
    }
    return {name: rows for name, rows in found.items() if rows}


@contextmanager
def statements(alias: str) -> Iterator[list[str]]:
    """Collect the statements that name a table of ours on one database."""
    found: list[str] = []

    def note(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        if "letsgo_" in str(sql):
            found.append(sql)
        return execute(sql, params, many, context)

    with connections[alias].execute_wrapper(note):
        yield found
