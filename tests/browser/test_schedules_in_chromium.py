"""The pages of schedules in a real browser: the preview while typing, presets, and no script at all."""

from __future__ import annotations

import pytest
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import Select

from django_letsgo_worker import handler, schedules
from django_letsgo_worker.models import ScheduledJob
from tests.browser.chromium import make_wide, says
from tests.browser.rows import change_url, list_url
from tests.support import wait_until

pytestmark = pytest.mark.django_db(transaction=True)

WIDTHS = (1280, 768, 390)


def add_url(server):
    return f"{server.url}{list_url('scheduledjob')}add/"


def field(driver, name):
    return driver.find_element(By.NAME, name)


def previewed(driver):
    return driver.find_element(By.CSS_SELECTOR, ".lg-previewed").text


def wait_for_preview(driver, words):
    wait_until(lambda: words in previewed(driver), what=f"the preview with {words!r}")


def refusals(driver):
    """Return what the browser said about the policy of content."""
    return [entry["message"] for entry in driver.get_log("browser") if "Content Security" in entry["message"]]


def test_the_next_runs_are_shown_while_typing_under_a_strict_policy(logged_in, strict_server):
    driver = logged_in(strict_server)
    driver.get(add_url(strict_server))

    field(driver, "schedule").send_keys("30 2 * *")
    wait_for_preview(driver, "rule")
    field(driver, "schedule").send_keys(" MON-FRI")
    wait_for_preview(driver, "At 02:30, Monday to Friday")
    assert len(driver.find_elements(By.CSS_SELECTOR, ".lg-previewed tbody tr")) == 10

    field(driver, "timezone").clear()
    field(driver, "timezone").send_keys("Asia/Tokyo")
    wait_for_preview(driver, "02:30 JST")
    assert not driver.find_element(By.NAME, "_preview").is_displayed()
    assert not ScheduledJob.objects.exists()
    assert refusals(driver) == []


def test_a_preset_fills_the_field_and_shows_its_runs(logged_in, strict_server):
    driver = logged_in(strict_server)
    driver.get(add_url(strict_server))

    driver.find_element(By.XPATH, "//button[normalize-space()='weekdays at nine']").click()

    assert field(driver, "schedule").get_attribute("value") == "0 9 * * MON-FRI"
    wait_for_preview(driver, "At 09:00, Monday to Friday")
    assert refusals(driver) == []


def test_a_likely_type_is_named_while_typing_and_does_not_hinder(logged_in, live_server, own_registry):
    handler("audit:write")(print)
    driver = logged_in()
    driver.get(add_url(live_server))

    field(driver, "name").send_keys("Audit")
    field(driver, "type").send_keys("aduit:write")
    wait_for_preview(driver, "did you mean audit:write?")
    field(driver, "schedule").send_keys("@daily")
    field(driver, "_save").click()

    says(driver, "did you mean audit:write?")
    assert ScheduledJob.objects.get().type == "aduit:write"


def test_without_javascript_a_button_shows_the_runs_and_keeps_what_is_typed(logged_in, live_server):
    driver = logged_in(javascript=False)
    driver.get(add_url(live_server))
    assert not driver.find_element(By.CSS_SELECTOR, ".lg-presets").is_displayed()

    field(driver, "name").send_keys("Nightly")
    field(driver, "schedule").send_keys("15 4 * * *")
    field(driver, "_preview").click()

    wait_for_preview(driver, "At 04:15 every day")
    assert field(driver, "name").get_attribute("value") == "Nightly"
    assert not ScheduledJob.objects.exists()
    field(driver, "type").send_keys("mail.send")
    field(driver, "_save").click()
    says(driver, "was added successfully")
    assert ScheduledJob.objects.get().schedule == "15 4 * * *"


@pytest.mark.parametrize("javascript", [True, False])
def test_after_the_switch_the_notice_leads_to_why_and_until_when(logged_in, live_server, javascript):
    schedules.add("Nightly", "@daily", "mail.send")
    driver = logged_in(javascript=javascript)
    driver.get(f"{live_server.url}{list_url('scheduledjob')}")

    driver.find_element(By.CSS_SELECTOR, "#result_list [role=switch]").click()
    (notice,) = says(driver, "1 schedule is off.")
    notice.find_element(By.TAG_NAME, "a").click()
    wait_until(lambda: driver.find_elements(By.NAME, "reason"), what="the page that asks why")
    field(driver, "reason").send_keys("the list is being cleaned")
    Select(field(driver, "minutes")).select_by_value("60")
    driver.find_element(By.CSS_SELECTOR, ".submit-row [type=submit]").click()

    says(driver, "The schedule Nightly is off.")
    assert "the list is being cleaned" in driver.find_element(By.ID, "result_list").text
    assert ScheduledJob.objects.get().resume_at is not None


def test_no_page_of_schedules_is_wider_than_the_window(logged_in, strict_server):
    name, type = "A rather long name of a nightly report", "reports.nightly.of_sales"
    job = schedules.add(name, "30 2 * * MON-FRI", type, timezone="America/New_York")
    for n in range(12):
        schedules.add(f"Tenant {n:02} export", f"{5 * n} 1 * * *", "export:csv")
    root = list_url("scheduledjob")
    pages = [
        root,
        f"{root}add/",
        f"{root}agenda/",
        f"{root}{job.pk}/off/",
        change_url("scheduledjob", job.pk),
    ]
    driver = logged_in(strict_server)
    for width in WIDTHS:
        make_wide(driver, width)
        for page in pages:
            driver.get(f"{strict_server.url}{page}")
            wide = driver.execute_script("return document.documentElement.scrollWidth - window.innerWidth")
            assert wide <= 0, (page, width)
    assert refusals(driver) == []
