"""The pytest plugin: fixtures over the helpers of this package, there as soon as the app is installed.

It is loaded before Django is configured, and in projects without Django: nothing of either is imported here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from ..models import Message


@pytest.fixture
def letsgo_drain(letsgo_database: None) -> Callable[..., int]:
    """django_letsgo_worker.testing.drain(): handle all that is due, on the test's own connection."""
    from .due import drain

    return drain


@pytest.fixture
def letsgo_fire_due(letsgo_database: None) -> Callable[..., list[Message]]:
    """django_letsgo_worker.testing.fire_due(): fire the schedules that are due."""
    from .due import fire_due

    return fire_due


@pytest.fixture
def letsgo_assert_enqueued(letsgo_database: None) -> Callable[..., list[Message]]:
    """django_letsgo_worker.testing.assert_enqueued(): ask which messages wait."""
    from .assertions import assert_enqueued

    return assert_enqueued


@pytest.fixture
def letsgo_handler() -> Iterator[Callable[..., Any]]:
    """@handler for one test: it takes the place of the project's handlers of the type until the test ends."""
    from .. import registry

    before, replaced = registry.handlers(), set()

    def register(type: str, **options: Any) -> Any:
        if type not in replaced:
            registry.remove(type)
            replaced.add(type)
        return registry.handler(type, **options)

    yield register
    for type in registry.types():
        registry.remove(type)
    for one in before:
        registry.add(one)


class WithPytestDjango:
    """A fixture that asks for the test database by name, since pytest-django looks for that name."""

    @pytest.fixture
    def letsgo_database(self, db: None) -> None: ...


class WithoutPytestDjango:
    @pytest.fixture
    def letsgo_database(self) -> None: ...


def pytest_configure(config: pytest.Config) -> None:
    # As it is loaded by itself, and by -p.
    names = ("django", "pytest_django", "pytest_django.plugin")
    is_there = any(config.pluginmanager.has_plugin(name) for name in names)
    config.pluginmanager.register(WithPytestDjango() if is_there else WithoutPytestDjango())
