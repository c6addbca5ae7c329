"""contrib.slack: the URL is a secret, whatever goes wrong."""

from __future__ import annotations

import logging
import traceback

import pytest
from django.apps import apps
from django.contrib import admin
from django.urls import reverse

from django_letsgo_worker.contrib.slack import client as slack_client
from django_letsgo_worker.contrib.slack import send_slack_message
from tests.slackserver import CANARY, closed_port, impatient_fixture, slack_fixture, work_off

pytestmark = pytest.mark.django_db(transaction=True)

__all__ = ["impatient_fixture", "slack_fixture"]


class TestTheUrlIsASecret:
    def test_it_is_in_no_log_no_row_and_no_page_of_the_admin(
        self, slack, settings, impatient, caplog, capfd, admin_client
    ):
        caplog.set_level(logging.DEBUG)
        run_all_that_can_go_wrong(slack, settings)

        raised = [record.exc_info for record in caplog.records if record.exc_info]
        logged = caplog.text + "".join("".join(traceback.format_exception(*one)) for one in raised)
        logged += repr([vars(record) for record in caplog.records])
        printed = "".join(capfd.readouterr())
        assert "Slack answered 500" in logged
        assert secrets_in(logged) == []
        assert secrets_in(printed) == []
        assert secrets_in(all_rows()) == []
        assert secrets_in(admin_pages(admin_client)) == []

    def test_the_error_that_a_tracker_gets_leads_to_no_url(self, settings, slack):
        settings.LETSGO_SLACK_URL = f"http://127.0.0.1:{closed_port()}/services/{CANARY}"

        with pytest.raises(slack_client.SlackFailed) as caught:
            slack_client.post({"text": "Hello"})

        assert caught.value.__context__ is None and caught.value.__cause__ is None
        frames = [
            frame for frame, _ in traceback.walk_tb(caught.tb) if "slack/client" in frame.f_code.co_filename
        ]
        assert frames
        assert secrets_in(repr([frame.f_locals for frame in frames])) == []


def run_all_that_can_go_wrong(slack, settings):
    slack.answer(500, slack.url.encode())
    slack.answer(404, slack.url.encode())
    slack.answer(302, headers={"Location": slack.url})
    slack.answer(raw=slack.url.encode())
    slack.hang()
    for number in range(6):
        send_slack_message(f"number {number}")
        work_off()
    url = slack.url
    for broken in (
        url.replace("127.0.0.1", "hooks.slack.invalid"),
        f"http://127.0.0.1:{closed_port()}/{CANARY}",
    ):
        settings.LETSGO_SLACK_URL = broken
        send_slack_message("elsewhere")
        work_off()
    settings.LETSGO_SLACK_URL = url
    slack.answer(429)
    send_slack_message("too many")
    work_off()


def secrets_in(text):
    return [part for part in CANARY.split("/") if part in text]


def all_rows():
    models = [model for config in apps.get_app_configs() for model in config.get_models()]
    return repr([row for model in models for row in model._default_manager.values()])


def admin_pages(client):
    pages = []
    for model in admin.site._registry:
        if model._meta.app_label not in ("django_letsgo_worker", "letsgo_slack"):
            continue
        name = f"admin:{model._meta.app_label}_{model._meta.model_name}"
        addresses = [reverse(f"{name}_changelist")]
        addresses += [reverse(f"{name}_change", args=[row.pk]) for row in model._default_manager.all()]
        pages += [client.get(address).content.decode() for address in addresses]
    return "".join(pages)
