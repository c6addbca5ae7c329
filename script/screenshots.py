"""Takes the pictures of script/screenshots, which says more: python script/screenshots.py FOLDER.

DATABASE_URL names an empty database.
"""

import contextlib
import logging
import os
import re
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import django
from servers import free_port

# The incident's handlers are all that this process knows: not the shop's.
os.environ |= {"DJANGO_SETTINGS_MODULE": "testproject.settings", "LETSGO_WORKER_AUTODISCOVER": ""}
django.setup()

from django.contrib.auth.models import User  # noqa: E402
from django.core.management import call_command  # noqa: E402
from django.test import Client  # noqa: E402

from tests.browser import chromium  # noqa: E402
from tests.browser.pages import Page, pages  # noqa: E402
from tests.docs import tutorial  # noqa: E402
from tests.docs.browsers import Chromium  # noqa: E402
from tests.incident import Incident, begin_to_mend  # noqa: E402
from tests.support import ROOT, Managed  # noqa: E402

WIDE, NARROW = 1280, 390
# What does not fit below is left to those who try it themselves.
TALLEST = {WIDE: 1400, NARROW: 1600}
ALSO_NARROW = {
    "overview",
    "failures",
    "failure",
    "messages",
    "message",
    "schedules",
    "schedule-add",
    "queues",
}
# Django's own pages about a row, and those that are only reached from others.
LEFT_OUT = re.compile(
    r".+-(history|delete)|(archived-message|dead-letter)s?"
    # Pages of the same kind as one that is there.
    r"|schedule-(problem|code|on)|failure-(dead|retrying)|message-scheduled"
)
QUALITY = 60


def main() -> None:
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    if not chromium.IS_HERE:
        sys.exit(chromium.MISSING)
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("*.webp"):
        old.unlink()
    with site_in_trouble() as site, browser() as driver:
        chromium.log_in(driver, site)
        driver.execute_cdp_cmd("Emulation.setScrollbarsHidden", {"hidden": True})
        for page in shown():
            take(driver, page.name, f"{site}{page.path}", folder)
    take_those_of_the_tutorial(folder)
    taken = [picture.stat().st_size for picture in folder.glob("*.webp")]
    print(f"{len(taken)} pictures, {sum(taken) / 1e6:.1f} MB")


def take_those_of_the_tutorial(folder: Path) -> None:
    """Follow the tutorial, and take its pictures where it shows them: small ones, in light alone."""
    with tempfile.TemporaryDirectory(prefix="letsgo-tutorial-") as home, browser() as driver:
        driver.execute_cdp_cmd("Emulation.setScrollbarsHidden", {"hidden": True})
        (Path(home) / "wheel").mkdir()
        wheel = tutorial.build(Path(home) / "wheel")
        take_one = tutorial.camera(driver, folder)
        with tutorial.followed(Path(home), wheel, free_port(), Chromium(driver), take_one):
            pass


@contextlib.contextmanager
def site_in_trouble() -> Iterator[str]:
    """Build the incident, and serve its admin to admin/password until the end."""
    # What is enqueued, and refused pages that a user would not be led to.
    logging.disable(logging.WARNING)
    call_command("migrate", verbosity=0)
    User.objects.create_superuser("admin", password="password")
    with processes() as manage:
        incident = Incident(manage)
        incident.begin()
        begin_to_mend()
        port = free_port()
        incident.start("runserver", "--noreload", str(port)).wait_for_line("Quit the server")
        yield f"http://localhost:{port}"


@contextlib.contextmanager
def processes() -> Iterator[Callable[..., Managed]]:
    """Let processes of manage.py be started, and kill them in the end."""
    started: list[Managed] = []

    def manage(*arguments: str, env: dict[str, str]) -> Managed:
        environment = {**os.environ, "PYTHONUNBUFFERED": "1", "PYTHONPATH": str(ROOT), **env}
        started.append(Managed(arguments, environment))
        return started[-1]

    try:
        yield manage
    finally:
        for process in started:
            process.clean_up()


@contextlib.contextmanager
def browser() -> Iterator[Any]:
    with tempfile.TemporaryDirectory(prefix="letsgo-chromium-", ignore_cleanup_errors=True) as profile:
        driver = chromium.start(Path(profile))
        try:
            yield driver
        finally:
            driver.quit()


def shown() -> list[Page]:
    client = Client(SERVER_NAME="localhost")
    client.force_login(User.objects.get())
    # One tab of a list looks like another.
    return [page for page in pages(client) if not page.tab and not LEFT_OUT.fullmatch(page.name)]


def take(driver: Any, name: str, url: str, folder: Path) -> None:
    """Take all pictures of a page: such as overview-narrow-dark.webp"""
    for width in (WIDE, NARROW) if name in ALSO_NARROW else (WIDE,):
        for scheme in ("light", "dark"):
            chromium.prefer(driver, scheme)
            chromium.make_wide(driver, width)
            driver.get(url)
            narrow = "-narrow" if width == NARROW else ""
            file = folder / f"{name}{narrow}-{scheme}.webp"
            chromium.photograph(driver, file, width=width, tallest=TALLEST[width], quality=QUALITY)


if __name__ == "__main__":
    main()
