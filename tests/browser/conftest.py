"""A real, headless Chromium for the tests of pages, with and without JavaScript."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pytest_django.live_server_helper import LiveServer

from tests.browser import chromium


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[Callable[..., Any]]:
    """Start Chromium with a profile of its own: browser(), or browser(javascript=False)."""
    if not chromium.IS_HERE:
        if os.environ.get("CI"):
            pytest.fail(chromium.MISSING)
        pytest.skip(chromium.MISSING)
    started: list[Any] = []

    def start(*, javascript: bool = True) -> Any:
        started.append(chromium.start(tmp_path / f"profile{len(started)}", javascript=javascript))
        return started[-1]

    yield start
    for driver in started:
        driver.quit()


@pytest.fixture
def logged_in(browser: Callable[..., Any], live_server: Any, admin_user: Any) -> Callable[..., Any]:
    """Return a function that opens a browser and logs in as the superuser."""

    def log_in(server: Any = live_server, **options: Any) -> Any:
        driver = browser(**options)
        chromium.log_in(driver, server.url)
        return driver

    return log_in


class StrictPolicy:
    """A middleware that lets a page load nothing, and run nothing, but what its own host sends."""

    def __init__(self, get_response: Callable[[Any], Any]) -> None:
        self.get_response = get_response

    def __call__(self, request: Any) -> Any:
        response = self.get_response(request)
        response.headers["Content-Security-Policy"] = "default-src 'self'; img-src 'self' data:"
        return response


@pytest.fixture
def strict_server(settings: Any, live_server: Any) -> Iterator[Any]:
    """A second server, under the strict policy: the first one has its middleware already."""
    settings.MIDDLEWARE = [*settings.MIDDLEWARE, f"{__name__}.StrictPolicy"]
    server = LiveServer("localhost")
    yield server
    server.stop()
