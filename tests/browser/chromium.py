"""A headless Chromium: how it is started, how wide and dark it is, and how one logs in."""

from __future__ import annotations

import base64
import contextlib
import shutil
from pathlib import Path
from typing import Any

from selenium import webdriver
from selenium.common.exceptions import StaleElementReferenceException
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By

from tests.support import wait_until

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")
IS_HERE = bool(CHROMIUM and DRIVER)
MISSING = "Chromium and its driver are not here: apt-get install chromium chromium-driver"
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


def start(profile: Path, *, javascript: bool = True) -> Any:
    """Start Chromium with a profile of its own, and see that it runs JavaScript, or that it does not."""
    options = Options()
    options.binary_location = str(CHROMIUM)
    for argument in (*ARGUMENTS, f"--user-data-dir={profile}"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    if not javascript:
        options.add_experimental_option("prefs", {"profile.managed_default_content_settings.javascript": 2})
    driver = webdriver.Chrome(options=options, service=Service(DRIVER))
    driver.get("data:text/html,<title>off</title><script>document.title='on'</script>")
    assert driver.title == ("on" if javascript else "off")
    return driver


def log_in(driver: Any, site: str) -> None:
    """Log in to the admin as admin_user of pytest-django."""
    driver.get(f"{site}/admin/login/?next=/admin/")
    driver.find_element(By.NAME, "username").send_keys("admin")
    driver.find_element(By.NAME, "password").send_keys("password")
    driver.find_element(By.CSS_SELECTOR, "[type=submit]").click()
    wait_until(lambda: driver.current_url == f"{site}/admin/", what="the admin's index")


def make_wide(driver: Any, width: int, height: int = 1000) -> None:
    """Give the page so many pixels; a window of Chromium itself has at least five hundred."""
    size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)


def photograph(
    driver: Any, file: Path, *, width: int, tallest: int, quality: int, part: str = "html"
) -> None:
    """Write a picture of a page that wide, or of a part of it, at most as tall as that, in WebP."""
    make_wide(driver, width)
    tall = driver.execute_script("return document.documentElement.scrollHeight")
    make_wide(driver, width, min(tall, tallest) if part == "html" else tall)
    box = driver.find_element(By.CSS_SELECTOR, part).rect
    clip = {**box, "height": min(box["height"], tallest), "scale": 1}
    options = {"format": "webp", "quality": quality, "clip": clip}
    shot = driver.execute_cdp_cmd("Page.captureScreenshot", options)["data"]
    file.write_bytes(base64.b64decode(shot))


def prefer(driver: Any, scheme: str) -> None:
    """Prefer light or dark, as the system of a reader does."""
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})


def keep_still(driver: Any) -> None:
    """Prefer less motion: pages that scroll smoothly move away from under a click. prefer() forgets it."""
    features = [{"name": "prefers-reduced-motion", "value": "reduce"}]
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})


def press(driver: Any, label: str) -> None:
    """Press the button, or follow the link, that is called so; the first one of a page."""
    called = f"self::button[normalize-space()='{label}'] or self::a[normalize-space()='{label}']"
    driver.find_element(By.XPATH, f"//*[{called} or self::input[@value='{label}']]").click()


def says(driver: Any, sentence: str) -> list[Any]:
    """Wait until the page says something in its notices; return those that do."""

    def notices() -> list[Any]:
        # The page may be replaced by the next one while it is read.
        with contextlib.suppress(StaleElementReferenceException):
            return [e for e in driver.find_elements(By.CSS_SELECTOR, ".messagelist li") if sentence in e.text]
        return []

    return wait_until(notices, what=f"the notice {sentence!r}")
