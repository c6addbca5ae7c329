"""contrib.contact behind the form: who is told, by mail and in Slack, and that headers stay whole."""

from __future__ import annotations

import pytest
from django.core import mail
from django.utils import timezone

from django_letsgo_worker import enqueue, registry
from django_letsgo_worker.contrib.contact import apps, conf, handlers
from django_letsgo_worker.contrib.contact.handlers import one_line, reply_address
from django_letsgo_worker.models import ArchivedMessage, Message
from tests.slackserver import slack_fixture, work_off

pytestmark = pytest.mark.django_db(transaction=True)

__all__ = ["slack_fixture"]

FORM = {"name": "Ada", "email": "ada@example.com", "message": "Is <anybody> there?\n@channel & co"}


@pytest.fixture(autouse=True)
def nothing_is_set(monkeypatch):
    for name in ("CONTACT_RATE", "CONTACT_MAX_BYTES", "CONTACT_EMAIL", "SLACK_URL"):
        monkeypatch.delenv(f"LETSGO_{name}", raising=False)


class TestSlack:
    def test_hears_of_a_contact_form_with_its_words_escaped(self, slack):
        enqueue("letsgo:contact", {**FORM, "tenantId": "ten-1"})

        work_off()

        assert slack.texts == [
            "*Contact form*: Ada (ada@example.com)\n"
            "> Is &lt;anybody&gt; there?\n> @channel &amp; co\n"
            "tenant ten-1"
        ]

    def test_that_is_down_does_not_fail_the_contact_form(self, slack, settings, mailoutbox):
        settings.LETSGO_CONTACT_EMAIL = "team@example.com"
        slack.answer(500)
        message = enqueue("letsgo:contact", FORM)

        work_off()

        assert ArchivedMessage.objects.get(pk=message.pk).outcome == "succeeded"
        assert len(mailoutbox) == 1
        assert Message.objects.get(type="letsgo:slack").attempts == 1

    def test_hears_of_it_once_however_often_the_mail_is_tried(self, slack, settings, mailoutbox, monkeypatch):
        settings.LETSGO_CONTACT_EMAIL = "team@example.com"
        monkeypatch.setattr(handlers, "contact_mail", broken_mail)
        message = enqueue("letsgo:contact", FORM)
        work_off()
        monkeypatch.undo()
        settings.LETSGO_SLACK_URL = slack.url
        Message.objects.filter(pk=message.pk).update(visible_at=timezone.now())
        work_off()

        archived = ArchivedMessage.objects.get(pk=message.pk)
        assert (archived.outcome, archived.attempts) == ("succeeded", 2)
        assert (len(slack.texts), len(mailoutbox)) == (1, 1)

    def test_says_nothing_when_switched_off(self, slack, settings, caplog):
        settings.LETSGO_SLACK_NOTIFY = ["dead"]
        enqueue("letsgo:contact", FORM)

        work_off()

        assert slack.received == []
        assert "Nobody is told of the contact form" in caplog.text
        assert "ada@example.com" not in caplog.text


# Sent as each version of Django wants it: a warning would fail the handler, and no mail be sent.
@pytest.mark.filterwarnings("error::DeprecationWarning", "error::PendingDeprecationWarning")
class TestMail:
    def test_goes_to_whom_the_setting_names_and_replies_go_to_the_sender(self, settings, mailoutbox):
        settings.LETSGO_CONTACT_EMAIL = "team@example.com, boss@example.com"
        settings.DEFAULT_FROM_EMAIL = "shop@example.com"
        enqueue("letsgo:contact", {**FORM, "query": {"plan": "gold"}})

        work_off()

        (sent,) = mailoutbox
        assert sent.to == ["team@example.com", "boss@example.com"]
        assert (sent.from_email, sent.reply_to) == ("shop@example.com", ["ada@example.com"])
        assert sent.subject == "Contact form: Ada"
        assert 'query: {"plan":"gold"}' in sent.body
        assert sent.body.endswith(FORM["message"])

    def test_is_not_sent_when_nobody_is_named(self, mailoutbox):
        message = enqueue("letsgo:contact", FORM)

        work_off()

        assert mailoutbox == []
        assert ArchivedMessage.objects.get(pk=message.pk).outcome == "succeeded"

    @pytest.mark.parametrize(
        "payload",
        [
            None,
            [],
            "text",
            {},
            {"name": "Ada\r\nBcc: all@example.com", "email": "x@example.com\r\nBcc: all@example.com"},
            {"name": ["x"], "email": 7, "message": {"a": 1}, "query": [1, {"x": None}]},
            {"name": "\x07\x1b[31m", "email": "a@b", "message": None, "tenantId": "a\nb"},
        ],
    )
    def test_is_sent_whatever_the_payload_is_and_its_headers_stay_whole(self, settings, mailoutbox, payload):
        settings.LETSGO_CONTACT_EMAIL = ["team@example.com"]
        enqueue("letsgo:contact", payload)

        work_off()

        (sent,) = mailoutbox
        headers = dict(sent.message().items())
        assert headers["To"] == "team@example.com"
        assert "Bcc" not in headers and "Reply-To" not in headers
        assert sent.recipients() == ["team@example.com"]
        assert "\n" not in sent.subject and len(sent.subject) < 150

    def test_a_header_takes_only_what_is_printable_and_short(self):
        assert one_line("a\r\nb\x1bc\u2028d") == "a b c d"
        assert len(one_line("x" * 1_000)) == 100
        assert reply_address("ada@example.com") == "ada@example.com"
        assert reply_address('"a\x01b"@example.com') == ""
        assert reply_address(f"{'x' * 300}@example.com") == ""

    def test_that_fails_is_tried_again(self, settings, mailoutbox, monkeypatch):
        settings.LETSGO_CONTACT_EMAIL = "team@example.com"
        monkeypatch.setattr(handlers, "contact_mail", broken_mail)
        message = enqueue("letsgo:contact", FORM)

        work_off()

        assert Message.objects.get(pk=message.pk).errors[-1]["message"] == "the mail server is down"


class TestTheSettings:
    @pytest.mark.parametrize(
        ("value", "rate"),
        [
            ("5/m", conf.Rate(5, 60)),
            ("100/h", conf.Rate(100, 3_600)),
            ("1/s", conf.Rate(1, 1)),
            ("5/10m", conf.Rate(5, 600)),
            ("", None),
            (None, None),
            ("off", None),
        ],
    )
    def test_a_rate_is_read(self, settings, value, rate):
        settings.LETSGO_CONTACT_RATE = value

        assert conf.rate() == rate

    def test_the_environment_wins(self, settings, monkeypatch):
        settings.LETSGO_CONTACT_MAX_BYTES = 10
        monkeypatch.setenv("LETSGO_CONTACT_MAX_BYTES", "2048")
        monkeypatch.setenv("LETSGO_CONTACT_EMAIL", "a@example.com,b@example.com")

        assert conf.max_bytes() == 2048
        assert conf.recipients() == ["a@example.com", "b@example.com"]

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("LETSGO_CONTACT_RATE", "5"),
            ("LETSGO_CONTACT_RATE", "0/m"),
            ("LETSGO_CONTACT_RATE", "5/0m"),
            ("LETSGO_CONTACT_RATE", "5/w"),
            ("LETSGO_CONTACT_RATE", 5),
            ("LETSGO_CONTACT_MAX_BYTES", "64k"),
            ("LETSGO_CONTACT_MAX_BYTES", 0),
            ("LETSGO_CONTACT_MAX_BYTES", True),
            ("LETSGO_CONTACT_EMAIL", "nobody"),
            ("LETSGO_CONTACT_EMAIL", 7),
            ("LETSGO_CONTACT_EMAIL", "a@example.com\nBcc: b@example.com"),
        ],
    )
    def test_a_check_names_what_cannot_be_read(self, settings, name, value):
        assert apps.check_contact(None) == []
        setattr(settings, name, value)

        (error,) = apps.check_contact(None)

        assert name in error.msg


def test_a_project_may_put_its_own_handler_in_the_place_of_ours():
    ours = registry.get("letsgo:contact")
    assert ours.is_shipped
    seen = []
    registry.handler("letsgo:contact")(lambda delivery: seen.append(delivery.payload))
    try:
        enqueue("letsgo:contact", FORM)
        work_off()
    finally:
        registry.remove("letsgo:contact")
        registry.add(ours)

    assert seen == [FORM]
    assert mail.outbox == []


def broken_mail(*arguments):
    raise OSError("the mail server is down")
