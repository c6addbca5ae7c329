"""A real, headless Chromium for the tests of pages, with and without JavaScript."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from selenium import webdriver
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")
ARGUMENTS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--window-size=1400,1000",
)


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[Callable[..., Any]]:
    """Start Chromium with a profile of its own: browser(), or browser(javascript=False)."""
    if not (CHROMIUM and DRIVER):
        missing = "Chromium and its driver are not here: apt-get install chromium chromium-driver"
        if os.environ.get("CI"):
            pytest.fail(missing)
        pytest.skip(missing)
    started: list[Any] = []

    def start(*, javascript: bool = True) -> Any:
        options = Options()
        options.binary_location = str(CHROMIUM)
        for argument in (*ARGUMENTS, f"--user-data-dir={tmp_path / f'profile{len(started)}'}"):
            options.add_argument(argument)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
        if not javascript:
            options.add_experimental_option(
                "prefs", {"profile.managed_default_content_settings.javascript": 2}
            )
        started.append(webdriver.Chrome(options=options, service=Service(DRIVER)))
        started[-1].get("data:text/html,<title>off</title><script>document.title='on'</script>")
        assert started[-1].title == ("on" if javascript else "off")
        return started[-1]

    yield start
    for driver in started:
        driver.quit()
