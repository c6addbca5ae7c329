"""The admin in a real browser: what people click does what it says, also without JavaScript."""

from __future__ import annotations

import pytest
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import Select

from django_letsgo_worker import enqueue, schedules
from django_letsgo_worker.models import DeadLetter, Message, Queue, ScheduledJob
from tests.browser.chromium import press, says
from tests.browser.rows import an_error, change_url, dead_letter, list_url
from tests.support import wait_until

pytestmark = pytest.mark.django_db(transaction=True)


def switch_of(driver):
    return driver.find_element(By.CSS_SELECTOR, "#result_list [role=switch]")


@pytest.mark.parametrize("javascript", [True, False])
def test_the_switch_in_the_list_turns_a_schedule_off_and_on(logged_in, live_server, javascript):
    schedules.add("Nightly", "@daily", "mail.send")
    schedules.add("Other", "@daily", "mail.send")
    driver = logged_in(javascript=javascript)
    address = f"{live_server.url}{list_url('scheduledjob')}?q=Nightly"
    driver.get(address)
    assert switch_of(driver).get_attribute("aria-checked") == "true"

    switch_of(driver).click()
    says(driver, "1 schedule is off.")
    assert switch_of(driver).get_attribute("aria-checked") == "false"
    assert driver.current_url == address
    assert not ScheduledJob.objects.get(name="Nightly").enabled
    assert ScheduledJob.objects.get(name="Other").enabled

    switch_of(driver).click()
    says(driver, "1 schedule is on.")
    assert ScheduledJob.objects.get(name="Nightly").enabled


def test_run_now_makes_a_message_and_leads_to_it(logged_in, live_server):
    schedules.add("Nightly", "@daily", "mail.send", {"n": 1})
    driver = logged_in()
    driver.get(f"{live_server.url}{list_url('scheduledjob')}")

    press(driver, "Run now")
    (notice,) = says(driver, "Nightly runs now as message")
    message = Message.objects.get()
    notice.find_element(By.TAG_NAME, "a").click()

    wait_until(
        lambda: driver.current_url.endswith(change_url("message", message.pk)), what="the message's page"
    )
    assert '"n": 1' in driver.find_element(By.CSS_SELECTOR, ".field-payload_shown").text


def test_dead_letters_are_redriven_from_the_list_and_discarded_after_a_question(logged_in, live_server):
    letters = [dead_letter() for _ in range(3)]
    driver = logged_in()
    driver.get(f"{live_server.url}{list_url('deadletter')}")

    driver.find_element(By.CSS_SELECTOR, f".action-select[value='{letters[0].pk}']").click()
    Select(driver.find_element(By.NAME, "action")).select_by_value("redrive")
    driver.find_element(By.NAME, "index").click()
    says(driver, "1 dead letter was redriven.")
    assert Message.objects.get().pk == letters[0].pk

    driver.find_element(By.ID, "action-toggle").click()
    Select(driver.find_element(By.NAME, "action")).select_by_value("discard")
    driver.find_element(By.NAME, "index").click()
    wait_until(lambda: "Dead letters to delete: 2" in driver.page_source, what="the question")
    driver.find_element(By.CSS_SELECTOR, "input[value='Yes, discard them']").click()
    says(driver, "2 dead letters were discarded.")
    assert not DeadLetter.objects.exists()


@pytest.mark.parametrize("javascript", [True, False])
def test_one_dead_letter_is_redriven_from_its_own_page(logged_in, live_server, javascript):
    letter = dead_letter()
    driver = logged_in(javascript=javascript)
    driver.get(f"{live_server.url}{change_url('deadletter', letter.pk)}")

    press(driver, "Redrive")

    says(driver, "1 dead letter was redriven.")
    assert Message.objects.filter(pk=letter.pk).exists()


@pytest.mark.parametrize("javascript", [True, False])
def test_a_queue_is_paused_with_a_reason_and_resumed(logged_in, live_server, javascript):
    enqueue("mail.send", queue="mail")
    driver = logged_in(javascript=javascript)
    driver.get(f"{live_server.url}{list_url('queue')}?q=mail")

    driver.find_element(By.LINK_TEXT, "Pause…").click()
    driver.find_element(By.NAME, "reason").send_keys("provider is down")
    Select(driver.find_element(By.NAME, "minutes")).select_by_value("60")
    driver.find_element(By.CSS_SELECTOR, "input[value=Pause]").click()
    says(driver, "The queue mail was paused.")
    assert "provider is down" in driver.find_element(By.ID, "result_list").text
    assert Queue.objects.get().resume_at is not None

    press(driver, "Resume")
    says(driver, "1 queue was resumed.")
    assert not Queue.objects.get().is_paused


def test_an_error_in_the_form_stands_at_its_field(logged_in, live_server):
    driver = logged_in()
    driver.get(f"{live_server.url}{list_url('scheduledjob')}add/")
    for field, text in (("name", "Nightly"), ("type", "mail.send"), ("schedule", "0 0 30 2 *")):
        driver.find_element(By.NAME, field).send_keys(text)
    driver.find_element(By.NAME, "_save").click()

    wait_until(lambda: driver.find_elements(By.CSS_SELECTOR, ".field-schedule .errorlist"), what="the error")
    assert not driver.find_elements(By.CSS_SELECTOR, ".field-name .errorlist")


HOSTILE = "<img src=x onerror=\"document.title='hacked'\"><script>document.title='hacked'</script>"


@pytest.fixture
def hostile_pages():
    """Rows full of markup; the addresses of the pages that show them."""
    facts = {"type": HOSTILE, "queue": HOSTILE[:64], "payload": {HOSTILE: HOSTILE}, "error_class": HOSTILE}
    letter = dead_letter(errors=[an_error(HOSTILE)], **facts)
    job = schedules.add("Nightly", "@daily", "mail.send")
    ScheduledJob.objects.filter(pk=job.pk).update(name=HOSTILE, problem=HOSTILE, type=HOSTILE)
    enqueue("mail.send", queue="mail")
    return [
        *map(list_url, ("message", "archivedmessage", "deadletter", "scheduledjob", "process", "queue")),
        change_url("deadletter", letter.pk),
        change_url("scheduledjob", job.pk),
        f"{list_url('queue')}mail/pause/",
    ]


def test_no_hostile_text_runs(logged_in, live_server, hostile_pages):
    driver = logged_in()
    for page in hostile_pages:
        driver.get(f"{live_server.url}{page}")
        assert driver.find_elements(By.ID, "content")
        assert driver.title != "hacked"
        assert not driver.find_elements(By.CSS_SELECTOR, "#content img[src=x]")


def test_the_pages_are_whole_under_a_strict_policy(logged_in, strict_server, hostile_pages):
    driver = logged_in(strict_server)
    for page in hostile_pages:
        driver.get(f"{strict_server.url}{page}")
        assert driver.find_elements(By.ID, "content")
        log = [entry["message"] for entry in driver.get_log("browser")]
        assert [line for line in log if "Content Security" in line] == [], page


def test_the_strict_policy_is_in_force(logged_in, strict_server):
    driver = logged_in(strict_server)
    driver.execute_script(
        "const s = document.createElement('script'); s.text = 'document.title=1'; document.body.append(s)"
    )
    wait_until(lambda: "Content Security" in str(driver.get_log("browser")), what="a refusal in the log")
