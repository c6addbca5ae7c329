"""The pages in the dress of django-unfold and of django-jazzmin, each a site of its own: all can be used."""

from __future__ import annotations

import re

import pytest
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import Select

from django_letsgo_worker import enqueue, messages, schedules
from django_letsgo_worker.models import Message, Queue, ScheduledJob
from tests.browser.chromium import log_in, make_wide, prefer, press
from tests.browser.looks import borderless, faint, too_wide
from tests.browser.pages import pages
from tests.browser.rows import archived, change_url, dead_letter, list_url, process
from tests.support import wait_until

pytestmark = pytest.mark.django_db(transaction=True)

# What our templates draw; the rest is the theme's.
OURS = ("#lg-overview", ".lg-above", ".lg-results", ".lg-facts", ".lg-tool", ".lg-problems", ".submit-row")


@pytest.fixture(params=["unfold", "jazzmin"])
def site(request, manage):
    """The address of a site that wears the theme."""
    pytest.importorskip(request.param, reason=f"django-{request.param} is not installed")
    server = manage("runserver", "--noreload", "0", settings_module=f"tests.browser.themes.with_{request.param}")
    return re.search(r"http://[\w.]+:\d+", server.wait_for_line("server at http"))[0]


@pytest.fixture
def driver(site, browser, admin_user):
    driver = browser()
    log_in(driver, site)
    return driver


def see(driver, sentence):
    wait_until(lambda: sentence in driver.find_element(By.TAG_NAME, "body").text, what=f"{sentence!r}")


def test_every_page_fits_and_its_text_and_fields_stand_out(driver, site, admin_client):
    schedules.add("Nightly", "@daily", "mail.send", {"n": 1})
    enqueue("mail.send", queue="mail")
    messages.operate("retry", by="ada")
    process()
    archived()
    dead_letter()
    # A tab looks as the list without it.
    paths = [page.path for page in pages(admin_client) if not page.tab]
    faults = [f"{path}: {fault}" for path in paths for fault in misfits(driver, f"{site}{path}")]
    assert not faults, "\n".join(faults)


def misfits(driver, address):
    """Yield what stands out at the right or is cut there, fields without a line, and text that is faint."""
    for scheme in ("light", "dark"):
        prefer(driver, scheme)
        driver.get(address)
        yield from (f"{fault}, {scheme}" for fault in faint(driver, *OURS))
    for width in (1280, 390):
        make_wide(driver, width)
        yield from (f"{fault}, {width} px" for fault in (*too_wide(driver), *borderless(driver)))


def test_a_list_has_tabs_a_bar_and_a_way_to_add_a_row(driver, site):
    enqueue("mail.send", queue="mail")
    driver.get(f"{site}{list_url('message')}")
    driver.find_element(By.CSS_SELECTOR, ".lg-tabs [aria-current]")
    Select(driver.find_element(By.CSS_SELECTOR, ".lg-bar [name=queue]")).select_by_value("mail")
    press(driver, "Apply")
    wait_until(lambda: "queue=mail" in driver.current_url, what="the narrowed list")
    assert len(driver.find_elements(By.CSS_SELECTOR, "#result_list tbody tr")) == 1


def test_a_schedule_is_added_by_the_form_and_switched_off_in_the_list(driver, site):
    driver.get(f"{site}{list_url('scheduledjob')}")
    driver.find_element(By.CSS_SELECTOR, "main [href$='scheduledjob/add/'], #main [href$='scheduledjob/add/']").click()
    for field, text in (("name", "Nightly"), ("type", "mail.send"), ("schedule", "@daily")):
        driver.find_element(By.NAME, field).send_keys(text)
    driver.find_element(By.NAME, "_save").click()
    wait_until(ScheduledJob.objects.exists, what="the schedule")
    wait_until(lambda: driver.find_elements(By.CSS_SELECTOR, "[role=switch]"), what="the list")[0].click()
    see(driver, "1 schedule is off.")
    assert not ScheduledJob.objects.get().enabled
