"""contrib.slack: a Slack message is a message of its own, and reaches a real HTTP server."""

from __future__ import annotations

import contextlib
from datetime import timedelta

import pytest
from django.db import transaction

from django_letsgo_worker.contrib.slack import mrkdwn, send_slack_message
from django_letsgo_worker.errors import InvalidMessage
from django_letsgo_worker.models import ArchivedMessage, Message
from tests.slackserver import CANARY, impatient_fixture, slack_fixture, work_off

pytestmark = pytest.mark.django_db(transaction=True)

__all__ = ["impatient_fixture", "slack_fixture"]


class TestSendingAMessage:
    def test_text_reaches_slack_as_json(self, slack):
        message = send_slack_message("Hello")

        work_off()

        (request,) = slack.received
        assert request.json == {"text": "Hello"}
        assert request.method == "POST"
        assert request.path == f"/services/{CANARY}"
        assert request.headers["Content-Type"] == "application/json"
        assert ArchivedMessage.objects.get(pk=message.pk).outcome == "succeeded"

    def test_it_is_a_message_of_its_own_on_a_queue_of_its_own_without_the_url(self, slack):
        message = Message.objects.get(pk=send_slack_message("Hello").pk)

        assert (message.type, message.queue) == ("letsgo:slack", "letsgo-slack")
        assert message.payload == {"text": "Hello"}
        assert message.max_attempts > 1

    def test_blocks_reach_slack_as_they_are(self, slack):
        blocks = [{"type": "section", "text": {"type": "mrkdwn", "text": "<https://example.com|here>"}}]
        send_slack_message(blocks)
        send_slack_message("A & B", blocks=blocks)

        work_off()

        assert {"blocks": blocks} in [request.json for request in slack.received]
        assert {"text": "A &amp; B", "blocks": blocks} in [request.json for request in slack.received]

    def test_text_is_escaped_so_that_nobody_can_mention_a_channel(self, slack):
        send_slack_message("<!channel> & <https://evil.example|your bank>")

        work_off()

        assert slack.texts == ["&lt;!channel&gt; &amp; &lt;https://evil.example|your bank&gt;"]

    def test_markup_is_kept_and_only_the_values_in_it_are_escaped(self, slack):
        send_slack_message(mrkdwn("*{}* has <https://example.com|paid>", "<b>&"))

        work_off()

        assert slack.texts == ["*&lt;b&gt;&amp;* has <https://example.com|paid>"]

    @pytest.mark.parametrize("nothing", [(), ("",), ("  \n",), ([],), (None, [])])
    def test_nothing_to_send_is_refused(self, slack, nothing):
        with pytest.raises(InvalidMessage, match="needs text or blocks"):
            send_slack_message(*nothing)

    @pytest.mark.parametrize("blocks", [["text"], {"type": "divider"}, [1]])
    def test_what_are_no_blocks_is_refused(self, slack, blocks):
        with pytest.raises(InvalidMessage, match="a list of dictionaries"):
            send_slack_message(blocks=blocks)

    def test_it_exists_only_if_the_transaction_commits(self, slack):
        with contextlib.suppress(ZeroDivisionError), transaction.atomic():
            send_slack_message("never")
            1 / 0  # noqa: B018

        work_off()

        assert slack.received == []

    @pytest.mark.parametrize("unset", ["", None, "   "])
    def test_without_a_url_nothing_happens(self, slack, settings, unset):
        settings.LETSGO_SLACK_URL = unset

        assert send_slack_message("Hello") is None
        assert not Message.objects.exists()

    def test_a_message_whose_url_was_unset_since_is_done_without_a_word_to_slack(self, slack, settings):
        message = send_slack_message("Hello")
        settings.LETSGO_SLACK_URL = ""

        work_off()

        assert slack.received == []
        assert ArchivedMessage.objects.get(pk=message.pk).outcome == "succeeded"

    def test_the_environment_wins_over_the_settings_and_is_read_at_each_call(
        self, slack, settings, monkeypatch
    ):
        settings.LETSGO_SLACK_URL = "https://hooks.slack.invalid/services/other"
        monkeypatch.setenv("LETSGO_SLACK_URL", slack.url)
        send_slack_message("Hello")

        work_off()

        assert slack.texts == ["Hello"]

    def test_a_notice_that_is_of_no_use_any_more_is_not_sent(self, slack):
        message = send_slack_message("Hello")

        assert message.deadline - message.enqueued_at == timedelta(days=1)
