"""A part of a page that refreshes itself while something goes on, pauses, and ends, in a real browser."""

from __future__ import annotations

import pytest

from django_letsgo_worker import enqueue_many, messages
from tests.browser.chromium import press
from tests.browser.rows import change_url
from tests.support import wait_until

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def operation():
    enqueue_many([("mail.send", n) for n in range(3)], delay=3600)
    return messages.operate("retry", by="ada")


def work_off():
    while messages.work_off_operations():
        pass


def part(driver):
    return driver.execute_script("return document.getElementById('lg-operation').innerText")


def labels(driver):
    """Return the labels of the buttons in sight, as they are at one moment."""
    return driver.execute_script(
        "return [...document.querySelectorAll('button')].filter((one) => one.checkVisibility())"
        ".map((one) => one.textContent.trim())"
    )


def ask_every_100_ms(driver):
    """Hurry the page up: a second of its own is a fiftieth of one here."""
    hurry = "const wait = window.setTimeout; window.setTimeout = (what, ms) => wait(what, ms / 50);"
    driver.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": hurry})


def test_the_page_of_an_operation_follows_it_until_it_has_ended(logged_in, live_server, operation):
    driver = logged_in()
    ask_every_100_ms(driver)
    driver.get(f"{live_server.url}{change_url('bulkoperation', operation.pk)}")
    assert "0 / 0" in part(driver) and {"Pause", "Stop"} <= set(labels(driver))

    work_off()

    wait_until(
        lambda: "3 / 3 (100 %)" in part(driver), what="the end of the operation on its page", timeout=5
    )
    wait_until(lambda: not {"Pause", "Stop"} & set(labels(driver)), what="no button to pause or stop")


def test_it_pauses_and_goes_on(logged_in, live_server, operation):
    driver = logged_in()
    ask_every_100_ms(driver)
    driver.get(f"{live_server.url}{change_url('bulkoperation', operation.pk)}")

    press(driver, "Pause")
    driver.execute_script("document.getElementById('lg-operation').append('as it was')")
    work_off()
    # A second one, asked for by hand, shows that the first is not only late.
    driver.execute_async_script("fetch(location.href).then(arguments[0])")
    assert "as it was" in part(driver)

    press(driver, "Refresh every 5 s")
    wait_until(
        lambda: "3 / 3 (100 %)" in part(driver), what="the end of the operation on its page", timeout=5
    )


def test_it_waits_to_be_asked_where_less_motion_is_preferred(logged_in, live_server, operation):
    driver = logged_in()
    features = [{"name": "prefers-reduced-motion", "value": "reduce"}]
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    driver.get(f"{live_server.url}{change_url('bulkoperation', operation.pk)}")

    assert "Refresh every 5 s" in labels(driver) and "Pause" not in labels(driver)


def test_without_javascript_there_is_a_link(logged_in, live_server, operation):
    driver = logged_in(javascript=False)
    driver.get(f"{live_server.url}{change_url('bulkoperation', operation.pk)}")
    work_off()

    assert "Pause" not in labels(driver)
    press(driver, "Refresh")
    assert "3 / 3 (100 %)" in part(driver)
