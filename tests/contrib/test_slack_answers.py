"""contrib.slack: what each answer of a real HTTP server does to the message."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone

from django_letsgo_worker import enqueue
from django_letsgo_worker.contrib.slack import client as slack_client
from django_letsgo_worker.contrib.slack import send_slack_message
from django_letsgo_worker.contrib.slack.models import SlackTurn
from django_letsgo_worker.models import ArchivedMessage, DeadLetter, Message
from tests.slackserver import CANARY, closed_port, impatient_fixture, slack_fixture, work_off

pytestmark = pytest.mark.django_db(transaction=True)

__all__ = ["impatient_fixture", "slack_fixture"]


def seconds_until_visible(message):
    return (Message.objects.get(pk=message.pk).visible_at - timezone.now()).total_seconds()


def last_error(message):
    return Message.objects.get(pk=message.pk).errors[-1]


class TestWhatSlackAnswers:
    @pytest.mark.parametrize("asked", [1, 90])
    def test_429_is_snoozed_for_as_long_as_slack_says_and_costs_no_attempt(self, slack, asked):
        slack.answer(429, headers={"Retry-After": str(asked)})
        message = send_slack_message("Hello")

        work_off()

        row = Message.objects.get(pk=message.pk)
        assert (row.attempts, row.errors, len(slack.received)) == (0, [], 1)
        assert asked - 5 < seconds_until_visible(message) <= asked

    def test_all_others_wait_as_well_while_slack_wants_a_rest(self, slack):
        slack.answer(429, headers={"Retry-After": "90"})
        messages = [send_slack_message("one"), send_slack_message("two"), send_slack_message("three")]

        work_off(concurrency=3)

        assert len(slack.received) == 1
        assert [Message.objects.get(pk=message.pk).attempts for message in messages] == [0, 0, 0]
        assert all(80 < seconds_until_visible(message) <= 91 for message in messages)

    def test_after_the_rest_it_is_sent(self, slack):
        slack.answer(429, headers={"Retry-After": "90"})
        message = send_slack_message("Hello")
        work_off()

        Message.objects.update(visible_at=timezone.now() - timedelta(seconds=1))
        SlackTurn.objects.update(free_at=timezone.now() - timedelta(seconds=1))
        work_off()

        assert slack.texts == ["Hello", "Hello"]
        assert ArchivedMessage.objects.get(pk=message.pk).outcome == "succeeded"

    @pytest.mark.parametrize("status", [500, 502, 503, 408])
    def test_a_fault_at_slacks_end_is_tried_again(self, slack, status):
        slack.answer(status, b"oh no")
        message = send_slack_message("Hello")

        work_off()

        assert last_error(message)["message"] == f"Slack did not take the message: Slack answered {status}."
        assert 0 < seconds_until_visible(message) <= 2

    def test_after_a_fault_it_is_sent_by_a_later_attempt(self, slack):
        slack.answer(500)
        message = send_slack_message("Hello")
        work_off()

        Message.objects.update(visible_at=timezone.now() - timedelta(seconds=1))
        work_off()

        archived = ArchivedMessage.objects.get(pk=message.pk)
        assert (archived.outcome, archived.attempts, slack.texts) == ("succeeded", 2, ["Hello", "Hello"])

    @pytest.mark.parametrize(
        ("status", "body", "said"),
        [
            (400, b"invalid_payload", "Slack answered 400 (invalid_payload)."),
            (403, b"action_prohibited\n", "Slack answered 403 (action_prohibited)."),
            (404, b"no_service", "Slack answered 404 (no_service)."),
            (410, b"<html>gone: /services/x</html>", "Slack answered 410."),
            (404, b"x" * 10_000, "Slack answered 404."),
            (404, b"\xff\xfe", "Slack answered 404."),
        ],
    )
    def test_what_slack_refuses_is_given_up_at_once_with_the_status(self, slack, status, body, said):
        slack.answer(status, body)
        message = send_slack_message("Hello")

        work_off()

        dead = DeadLetter.objects.get(pk=message.pk)
        assert (dead.attempts, dead.errors[-1]["message"]) == (1, said)

    def test_a_redirect_is_not_followed(self, slack):
        slack.answer(302, headers={"Location": slack.url})
        message = send_slack_message("Hello")

        work_off()

        assert len(slack.received) == 1
        said = DeadLetter.objects.get(pk=message.pk).errors[-1]["message"]
        assert said == "Slack answered 302: redirects are not followed."

    def test_no_answer_in_time_is_tried_again(self, slack, impatient):
        slack.hang()
        message = send_slack_message("Hello")

        work_off()

        assert last_error(message)["message"] == "Slack did not take the message: no answer in time."

    @pytest.mark.parametrize("raw", [b"", b"garbage\r\n\r\n", b"HTTP/1.1 200", b"SSH-2.0-OpenSSH\r\n"])
    def test_an_answer_that_is_no_http_is_tried_again(self, slack, raw):
        slack.answer(raw=raw)
        message = send_slack_message("Hello")

        work_off()

        assert last_error(message)["message"] == "Slack did not take the message: RemoteProtocolError."

    def test_a_slack_that_is_not_there_is_tried_again(self, settings, slack):
        settings.LETSGO_SLACK_URL = f"http://127.0.0.1:{closed_port()}/services/{CANARY}"
        message = send_slack_message("Hello")

        work_off()

        assert last_error(message)["message"] == "Slack did not take the message: ConnectError."

    @pytest.mark.parametrize(
        ("url", "said"),
        [
            ("http://hooks.slack.com/services/x", "must begin with https://"),
            ("http://127.0.0.1.example.com/x", "must begin with https://"),
            ("ftp://127.0.0.1/x", "must begin with https://"),
            ("https://user:secret@hooks.slack.com/x", "user name or a password"),
            ("https://", "is not a URL"),
            ("https://hooks.slack.com:port/x", "is not a URL"),
            ("https://hooks.slack.com/a b", "is not a URL"),
            ("https://[::1/x", "is not a URL"),
            ("nonsense", "is not a URL"),
        ],
    )
    def test_a_url_that_will_not_do_is_refused_without_being_told(self, slack, settings, url, said):
        settings.LETSGO_SLACK_URL = url
        message = send_slack_message("Hello")

        work_off()

        dead = DeadLetter.objects.get(pk=message.pk)
        assert said in dead.errors[-1]["message"]
        assert url not in str(dead.errors)

    @pytest.mark.parametrize("payload", [None, [], "text", {}, {"text": ""}, {"url": "https://x"}])
    def test_a_payload_with_nothing_to_send_is_given_up(self, slack, payload):
        message = enqueue("letsgo:slack", payload)

        work_off()

        assert (
            DeadLetter.objects.get(pk=message.pk).errors[-1]["message"]
            == "The message has neither text nor blocks."
        )
        assert slack.received == []

    def test_only_text_and_blocks_of_a_payload_are_sent(self, slack):
        enqueue("letsgo:slack", {"text": "Hello", "channel": "#elsewhere", "url": "https://x"})

        work_off()

        assert [request.json for request in slack.received] == [{"text": "Hello"}]


class TestTheRestThatSlackAsksFor:
    @pytest.mark.parametrize(
        ("header", "seconds"),
        [
            ("30", 30.0),
            (" 7 ", 7.0),
            ("0", 1.0),
            ("999999999999999999999", 3_600.0),
            ("", 30.0),
            ("soon", 30.0),
            ("-5", 30.0),
            ("1.5", 30.0),
            ("²", 30.0),
            ("Wed, 21 Oct 2015 07:28:00 GMT", 1.0),
            ("Fri, 31 Dec 9999 23:59:59 GMT", 3_600.0),
            ("Wed, 99 Oct 2015 07:28:00 GMT", 30.0),
        ],
    )
    def test_is_read_whatever_the_header_says(self, header, seconds):
        assert slack_client.pause_of(header) == seconds

    def test_may_be_a_moment(self):
        moment = (timezone.now() + timedelta(seconds=100)).strftime("%a, %d %b %Y %H:%M:%S GMT")

        assert 95 < slack_client.pause_of(moment) <= 100
