"""The pages in the dress of django-unfold and of django-jazzmin, each a site of its own: all are of use."""

from __future__ import annotations

import contextlib
import re

import pytest
from selenium.common.exceptions import StaleElementReferenceException
from selenium.webdriver.common.by import By

from django_letsgo_worker import enqueue, messages, schedules
from django_letsgo_worker.models import Message, Queue, ScheduledJob
from tests.browser.chromium import keep_still, log_in, make_wide, prefer, press
from tests.browser.looks import borderless, faint, too_wide
from tests.browser.pages import pages
from tests.browser.rows import archived, change_url, dead_letter, list_url, process
from tests.support import wait_until

# A site is started, and some thirty pages are looked at.
pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.timeout(300)]

# What our templates draw; the rest is the theme's.
OURS = ("#lg-overview", ".lg-above", ".lg-results", ".lg-facts", ".lg-tool", ".lg-problems", ".submit-row")
# Pages that the theme draws alone.
OF_THE_THEME = ("history", "delete")
ADD = "#main a[href$='scheduledjob/add/'], main a[href$='scheduledjob/add/']"


@pytest.fixture(params=["unfold", "jazzmin"])
def site(request, manage):
    """The address of a site that wears the theme."""
    theme = request.param
    pytest.importorskip(theme, reason=f"django-{theme} is not installed")
    server = manage("runserver", "--noreload", "0", settings_module=f"tests.browser.themes.with_{theme}")
    return re.search(r"http://[\w.]+:\d+", server.wait_for_line("server at http"))[0]


@pytest.fixture
def driver(site, browser, admin_user):
    driver = browser()
    log_in(driver, site)
    return driver


def test_every_page_fits_and_its_texts_and_fields_stand_out(driver, site, admin_client):
    schedules.add("Nightly", "@daily", "mail.send", {"n": 1})
    enqueue("mail.send", queue="mail")
    messages.operate("retry", by="ada")
    process()
    archived()
    dead_letter()
    # A tab looks as the list without it.
    found = [page for page in pages(admin_client) if not page.tab and not page.name.endswith(OF_THE_THEME)]
    faults = [f"{page.name}: {fault}" for page in found for fault in misfits(driver, f"{site}{page.path}")]
    assert not faults, "\n".join(faults)


def misfits(driver, address):
    """Yield what stands out or is cut at the right, fields without a line, and texts that are faint."""
    for width, scheme in ((1280, "light"), (390, "dark")):
        # Before it is loaded: what changes may move and fade, and would be measured half-way.
        make_wide(driver, width)
        prefer(driver, scheme)
        driver.get(address)
        found = [*too_wide(driver), *borderless(driver), *faint(driver, *OURS)]
        yield from (f"{fault}, {width} px, {scheme}" for fault in found)


def test_what_people_press_does_what_it_says(driver, site):
    keep_still(driver)
    a_schedule_is_added_and_runs(driver, f"{site}{list_url('scheduledjob')}")
    a_schedule_is_switched_off_by_an_action(driver, f"{site}{list_url('scheduledjob')}")
    a_list_is_narrowed(driver, f"{site}{list_url('message')}")
    a_message_is_cancelled(driver, f"{site}{change_url('message', Message.objects.get().pk)}")
    a_queue_is_paused(driver, f"{site}{list_url('queue')}")


def a_schedule_is_added_and_runs(driver, address):
    driver.get(address)
    driver.find_element(By.CSS_SELECTOR, ADD).click()
    for field, text in (("name", "Nightly"), ("type", "mail.send"), ("schedule", "@daily")):
        driver.find_element(By.NAME, field).send_keys(text)
    driver.find_element(By.NAME, "_continue").click()
    wait_until(ScheduledJob.objects.exists, what="the schedule")
    press(driver, "Run now")
    see(driver, "Nightly runs now as message")


def a_schedule_is_switched_off_by_an_action(driver, address):
    driver.get(address)
    assert driver.find_element(By.CSS_SELECTOR, "#result_list [role=switch]").is_displayed()
    driver.find_element(By.CSS_SELECTOR, "input.action-select").click()
    see(driver, "1 of 1 selected")
    choose(driver, "action", "disable")
    driver.find_element(By.CSS_SELECTOR, ".actions [name=reason]").send_keys("holidays")
    driver.find_element(By.NAME, "index").click()
    see(driver, "1 schedule is off.")
    assert ScheduledJob.objects.get().switch_reason == "holidays"


def a_list_is_narrowed(driver, address):
    driver.get(address)
    assert driver.find_elements(By.CSS_SELECTOR, ".lg-tabs [aria-current]")
    choose(driver, "queue", "default")
    press(driver, "Apply")
    wait_until(lambda: "queue=default" in driver.current_url, what="the narrowed list")
    assert len(driver.find_elements(By.CSS_SELECTOR, "#result_list tbody tr")) == 1


def a_message_is_cancelled(driver, address):
    driver.get(address)
    press(driver, "Cancel this message")
    see(driver, "1 message was cancelled.")


def a_queue_is_paused(driver, address):
    driver.get(address)
    press(driver, "Pause…")
    driver.find_element(By.NAME, "reason").send_keys("provider is down")
    choose(driver, "minutes", "60")
    press(driver, "Pause")
    see(driver, "was paused.")
    assert Queue.objects.get(paused_at__isnull=False).resume_at is not None


def see(driver, sentence):
    """Wait until the page says it, wherever its theme has notices."""

    def is_there():
        # The page may be replaced by the next one while it is read.
        with contextlib.suppress(StaleElementReferenceException):
            return sentence in driver.find_element(By.TAG_NAME, "body").text

    wait_until(is_there, what=f"{sentence!r}")


def choose(driver, name, value):
    """Choose in a select, which a theme may have hidden behind one of its own."""
    select = driver.find_element(By.NAME, name)
    driver.execute_script("arguments[0].value = arguments[1]", select, value)
