"""What operators do in a bad hour, click by click, with JavaScript and without it."""

from __future__ import annotations

import pytest
from django.utils import timezone
from selenium.webdriver.common.by import By

from django_letsgo_worker import enqueue, messages
from django_letsgo_worker.models import BulkOperation, DeadLetter, Failure, Message
from tests.browser.chromium import press, says
from tests.browser.rows import change_url, dead_letter, list_url
from tests.support import wait_until

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.parametrize("javascript", [True, False], ids=["javascript", "no javascript"]),
]


@pytest.fixture
def driver(logged_in, javascript):
    return logged_in(javascript=javascript)


@pytest.fixture
def redriven_over_time(driver, live_server):
    """The page of an operation that was begun on a failure's page, on four dead letters."""
    for _ in range(4):
        dead_letter()
    now = timezone.now()
    failure = Failure.objects.create(
        type="billing.charge", fingerprint="f1", first_at=now, last_at=now, count=4
    )
    driver.get(f"{live_server.url}{change_url('failure', failure.pk)}")
    press(driver, "Redrive…")
    driver.find_element(By.CSS_SELECTOR, "input[value=spread]").click()
    driver.find_element(By.NAME, "reason").send_keys("the bank is back")
    press(driver, "Redrive")
    operation = wait_until(BulkOperation.objects.first, what="the operation")
    assert (operation.kind, operation.reason, operation.by) == ("redrive", "the bank is back", "admin")
    return f"{live_server.url}{change_url('bulkoperation', operation.pk)}"


def work_off():
    while messages.work_off_operations():
        pass


def test_a_redrive_over_time_is_stopped(driver, redriven_over_time):
    driver.get(redriven_over_time)

    press(driver, "Stop")

    says(driver, "Stopped.")
    work_off()
    assert DeadLetter.objects.count() == 4


def test_a_redrive_over_time_is_taken_back(driver, redriven_over_time):
    work_off()
    assert Message.objects.filter(visible_at__gt=timezone.now()).count() == 3
    driver.get(redriven_over_time)

    press(driver, "Take back what has not begun")

    says(driver, "Taken back.")
    work_off()
    assert DeadLetter.objects.count() == 4


def test_one_is_redriven_first_and_then_the_rest(driver, live_server):
    letters = [dead_letter().pk for _ in range(3)]
    now = timezone.now()
    Failure.objects.create(type="billing.charge", fingerprint="f1", first_at=now, last_at=now, count=4)
    driver.get(f"{live_server.url}{list_url('failure')}")

    press(driver, "Redrive…")
    press(driver, "Redrive")

    says(driver, "which was done first")
    assert driver.current_url == f"{live_server.url}{change_url('message', letters[0])}"
    press(driver, "go on with the rest")
    assert "It has not begun" in driver.find_element(By.ID, "content").text
    driver.find_element(By.CSS_SELECTOR, "input[value=all]").click()
    press(driver, "Redrive")
    says(driver, "here you see how far it is")
    work_off()
    assert not DeadLetter.objects.exists()


def test_a_message_that_waits_is_retried_now(driver, live_server):
    message = enqueue("mail.send", delay=3600)
    Message.objects.update(attempts=2)
    driver.get(f"{live_server.url}{change_url('message', message.pk)}")

    press(driver, "Retry now")

    says(driver, "1 message is due now.")
    assert Message.objects.get().visible_at <= timezone.now()


def test_a_message_is_found_by_its_id(driver, live_server):
    wanted, other = (change_url("message", enqueue("mail.send").pk) for _ in range(2))
    driver.get(f"{live_server.url}{list_url('message')}")
    assert links_to(driver, other)

    driver.find_element(By.NAME, "q").send_keys(wanted.split("/")[-3])
    driver.find_element(By.CSS_SELECTOR, "[role=search] [type=submit]").click()

    wait_until(lambda: links_to(driver, wanted) and not links_to(driver, other), what="the one alone")


def links_to(driver, page):
    return driver.find_elements(By.CSS_SELECTOR, f"#content a[href^='{page}']")
