"""A real, headless Chromium for the tests of pages, with and without JavaScript."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

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
