"""The shop of testproject: an order and its message are one transaction; its handlers keep their word."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from decimal import Decimal
from typing import ClassVar
from urllib.parse import urlsplit

import pytest
from asgiref.sync import async_to_sync
from django.db import transaction
from django.test import Client
from django.urls import reverse

from django_letsgo_worker import Delivery, Reject, registry
from django_letsgo_worker.models import Message
from testproject.shop import mailservice, orders, outside
from testproject.shop.models import Article, Invoice, Mail, Order, Report
from tests.browser.rows import archived, change_url

pytestmark = pytest.mark.django_db

ORDER = {"article": "coffee", "customer": "ada@example.com"}


@pytest.fixture
def place():
    """Place an order as the page does."""

    def place_one(**facts):
        return orders.place(Order(**{**ORDER, **facts}))

    return place_one


@pytest.fixture
def deliver():
    """Call a handler of the shop as a worker would."""

    def call(type, payload, *, attempt=1, **facts):
        values = {
            "message_id": 7,
            "headers": {},
            "queue": "default",
            "priority": 0,
            "max_attempts": 5,
            "receipt": attempt,
            "enqueued_at": datetime(2026, 5, 1, tzinfo=UTC),
        }
        function = registry.get(type).function
        return function(Delivery(type=type, payload=payload, attempt=attempt, **{**values, **facts}))

    return call


def deliver_event(message):
    """Run the shop's handler for an event of Stripe's, as a worker would choose it."""
    payload = {**message.payload, "stripeMode": "TEST"}
    chosen = registry.choose("letsgo:stripe", payload)
    chosen.function(
        Delivery(
            type="letsgo:stripe", payload=payload, attempt=1, message_id=7, headers={}, queue="default",
            priority=0, max_attempts=5, receipt=1, enqueued_at=datetime(2026, 5, 1, tzinfo=UTC),
        )
    )  # fmt: skip


def types_waiting():
    return sorted(Message.objects.values_list("type", flat=True))


class TestPlacingAnOrder:
    def test_the_page_saves_the_order_and_enqueues_its_work(self, client):
        answer = client.post("/", ORDER)

        order = Order.objects.get()
        assert (answer.status_code, answer.headers["Location"]) == (302, "/")
        assert types_waiting() == ["order:new", "stock:check"]
        assert Message.objects.get(type="order:new").payload == {"order": order.pk}
        assert Message.objects.get(type="order:new").queue == "orders"

    def test_a_rollback_leaves_neither_order_nor_message(self, client):
        class Thunder(Exception):
            pass

        with pytest.raises(Thunder), transaction.atomic():
            client.post("/", ORDER)
            assert (Order.objects.count(), Message.objects.count()) == (1, 2)
            raise Thunder

        assert (Order.objects.count(), Message.objects.count()) == (0, 0)

    def test_an_order_whose_message_is_refused_is_not_kept(self, client, monkeypatch):
        def refuse(*arguments, **options):
            raise RuntimeError("refused")

        monkeypatch.setattr(orders, "enqueue", refuse)

        with pytest.raises(RuntimeError, match="refused"):
            client.post("/", ORDER)
        assert not Order.objects.exists()

    def test_a_wrong_address_is_said_and_saves_nothing(self, client):
        answer = client.post("/", {**ORDER, "customer": "nobody"})

        assert answer.status_code == 400
        assert b"Enter a valid email address." in answer.content
        assert (Order.objects.count(), Message.objects.count()) == (0, 0)

    def test_an_order_from_another_site_is_refused(self):
        answer = Client(enforce_csrf_checks=True).post("/", ORDER)

        assert answer.status_code == 403
        assert not Order.objects.exists()


class TestThePage:
    def test_an_empty_shop_has_a_page(self, client):
        assert b"None yet." in client.get("/").content

    def test_it_shows_what_became_of_invoice_and_mail(self, client, place, deliver):
        place()
        deliver("order:new", {"order": place().pk})

        page = client.get("/").content.decode()
        cells = re.findall(r"<td[^>]*>([^<]*)", page)

        assert cells.count("waiting") == 2  # the first order's invoice, the second one's mail
        assert str(Invoice.objects.get().pk) in cells

    def test_a_dead_mail_is_a_link_to_the_dead_letter(self, client, place, deliver):
        deliver("order:new", {"order": place(customer="nobody@shop.invalid").pk})
        mail = Invoice.objects.get().mail_message_id
        dead = archived(pk=mail, outcome="dead")
        Message.objects.filter(pk=mail).delete()

        page = client.get("/").content.decode()

        assert f'<a href="{change_url("deadletter", dead.pk)}">dead</a>' in page

    def test_it_says_that_an_order_was_placed(self, client):
        page = client.post("/", ORDER, follow=True).content.decode()

        assert f"Thank you. This is order {Order.objects.get().pk}; a worker writes its invoice." in page

    def test_a_mail_whose_message_was_pruned_is_forgotten(self, place, deliver):
        deliver("order:new", {"order": place().pk})
        Message.objects.filter(type="mail:send").delete()

        assert Invoice.objects.get().mail_state == "forgotten"


class TestPaying:
    @pytest.fixture
    def paying(self, live_server, client, place, deliver):
        """Press the button of an invoice; return the page that is then shown."""
        deliver("order:new", {"order": place().pk})
        button = reverse("outside-pay", args=[Invoice.objects.get().pk])
        return lambda: client.post(button, headers={"host": urlsplit(live_server.url).netloc}, follow=True)

    @pytest.mark.django_db(transaction=True)
    def test_the_page_shows_what_paying_did(self, settings, paying, client, deliver):
        settings.ALLOWED_HOSTS = ["*"]
        number = Invoice.objects.get().pk

        said = paying().content.decode()
        event = Message.objects.get(type="letsgo:stripe")
        deliver_event(event)
        then = client.get("/").content.decode()
        again = paying().content.decode()

        assert f"You paid invoice {number}. Stripe told the shop&#x27;s webhook" in said
        assert "<button>Pay</button>" in said
        assert "paid, waiting" in then
        assert "<button>Pay</button>" not in then
        assert f"Invoice {number} is already paid." in again
        assert Message.objects.filter(type="letsgo:stripe").count() == 1

    def test_an_invoice_that_stripe_calls_paid_twice_gets_one_parcel(self, place, deliver):
        deliver("order:new", {"order": place().pk})
        event = Message(type="letsgo:stripe", payload=outside.paid_event(Invoice.objects.get()))

        deliver_event(event)
        Message.objects.filter(type="parcel:book").delete()  # it was booked meanwhile
        deliver_event(event)

        assert not Message.objects.filter(type="parcel:book").exists()


class TestTheContactForm:
    FORM: ClassVar = {"name": "Ada", "email": "ada@example.com", "message": "Hello"}

    def test_it_answers_with_a_page(self, client):
        answer = client.post("/contact/", self.FORM)

        number = Message.objects.get(type="letsgo:contact").pk
        page = answer.content.decode()
        assert answer.headers["Content-Type"].startswith("text/html")
        assert "Thank you, we have your message." in page
        assert f"It is message {number} of type letsgo:contact" in page

    def test_its_page_says_what_is_wrong(self, client):
        answer = client.post("/contact/", {**self.FORM, "name": ""})

        assert answer.status_code == 400
        assert "name is required." in answer.content.decode()
        assert not Message.objects.exists()

    def test_the_shop_shows_the_form_that_leads_there(self, client):
        assert 'action="/contact/"' in client.get("/").content.decode()


class TestTheHandlers:
    def test_each_article_has_a_price(self):
        assert all(article.price > 0 for article in Article)

    def test_an_order_gets_an_invoice_and_a_mail(self, place, deliver):
        order = place(article="cup")

        deliver("order:new", {"order": order.pk})

        invoice = Invoice.objects.get()
        mail = Message.objects.get(type="mail:send")
        assert (invoice.order, invoice.amount, invoice.mail_message_id) == (order, Decimal("12.00"), mail.pk)
        assert (mail.payload, mail.queue) == ({"invoice": invoice.pk}, "mails")

    def test_a_second_attempt_sends_no_second_mail(self, place, deliver):
        order = place(pk=3)
        deliver("order:new", {"order": order.pk})
        payload = {"invoice": Invoice.objects.get().pk}

        with pytest.raises(mailservice.ReplyLost):
            deliver("mail:send", payload, attempt=1)
        deliver("mail:send", payload, attempt=2)

        mail = Mail.objects.get()
        assert (mail.to, mail.requests, mail.idempotency_key) == ("ada@example.com", 2, "mail-7")

    def test_an_address_that_cannot_exist_is_given_up(self, place, deliver):
        deliver("order:new", {"order": place(customer="nobody@shop.invalid").pk})

        with pytest.raises(Reject):
            deliver("mail:send", {"invoice": Invoice.objects.get().pk})
        assert not Mail.objects.exists()

    @pytest.mark.django_db(transaction=True)
    def test_the_stock_is_counted_asynchronously(self, place, deliver):
        place(article="tea")
        place(article="cup")

        async def check():
            return await deliver("stock:check", {"article": "tea"})

        answer = async_to_sync(check)()

        assert answer == {"article": "tea", "left": 99}

    def test_a_report_sums_up_to_its_planned_time(self, place, deliver):
        early, late = place(article="tea"), place(article="cup")
        Order.objects.filter(pk=early.pk).update(placed_at=datetime(2026, 5, 1, 8, tzinfo=UTC))
        Order.objects.filter(pk=late.pk).update(placed_at=datetime(2026, 5, 1, 10, tzinfo=UTC))
        planned_at = datetime(2026, 5, 1, 9, tzinfo=UTC)

        deliver("report:sales", None, planned_at=planned_at)

        report = Report.objects.get()
        assert (report.until, report.orders, report.turnover) == (planned_at, 1, Decimal("6.50"))
