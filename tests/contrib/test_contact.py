"""contrib.contact from outside: real HTTP to POST v1/contact, what is enqueued, what is refused and how."""

from __future__ import annotations

import json

import httpx
import pytest
from django.core.cache import cache
from django.urls import include, path

from django_letsgo_worker.contrib.contact import ContactView, views
from django_letsgo_worker.contrib.contact.conf import Rate
from django_letsgo_worker.models import Message

urlpatterns = [
    path("", include("django_letsgo_worker.contrib.contact.urls")),
    path("elsewhere", ContactView.as_view()),
]

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.urls(__name__)]

FORM = {"name": "Ada Lovelace", "email": "ada@example.com", "message": "Hello,\nis anybody there?"}


@pytest.fixture(autouse=True)
def nobody_posted_yet(settings, monkeypatch):
    for name in ("LETSGO_CONTACT_RATE", "LETSGO_CONTACT_MAX_BYTES", "LETSGO_CONTACT_EMAIL"):
        monkeypatch.delenv(name, raising=False)
    cache.clear()


@pytest.fixture
def post(live_server):
    """Post over HTTP, without following anything."""

    def send(**request):
        return httpx.post(f"{live_server.url}/v1/contact", trust_env=False, **request)

    return send


def enqueued():
    return [row.payload for row in Message.objects.filter(type="letsgo:contact")]


class TestAFormThatIsTaken:
    def test_is_enqueued_and_answered_at_once(self, post):
        answer = post(json=FORM)

        assert answer.status_code == 202
        message = Message.objects.get(type="letsgo:contact")
        assert answer.json() == {"id": message.pk}
        assert message.payload == FORM

    @pytest.mark.parametrize("kind", ["urlencoded", "multipart"])
    def test_may_be_a_form_of_html(self, post, kind):
        fields = {**FORM, "tenantId": "", "csrfmiddlewaretoken": "x"}
        if kind == "urlencoded":
            answer = post(data=fields)
        else:
            answer = post(files={name: (None, value) for name, value in fields.items()})

        assert answer.status_code == 202, answer.text
        assert [payload["name"] for payload in enqueued()] == ["Ada Lovelace"]
        assert set(enqueued()[0]) == set(FORM)

    def test_may_say_more(self, post):
        more = {
            "query": {"plan": "gold", "from": ["a", "b"]},
            "tenantId": "ten-1",
            "identityId": "idn-2",
            "timestamp": "2026-05-01T12:00:00Z",
        }
        assert post(json={**FORM, **more}).status_code == 202
        assert post(json={**FORM, "query": "plan=gold", "timestamp": 1_780_000_000}).status_code == 202
        assert post(json={**FORM, "query": None, "tenantId": None}).status_code == 202

        assert enqueued()[0] == {**FORM, **more}
        assert enqueued()[2] == FORM

    def test_needs_no_csrf_token(self, live_server):
        from django.test import Client

        answer = Client(enforce_csrf_checks=True).post("/v1/contact", FORM, headers={"origin": "https://x.y"})

        assert answer.status_code == 202

    def test_keeps_its_words_exactly(self, post):
        words = "Grüße 👋 <b>&amp;</b>\r\n\tΩ  two spaces"
        post(json={**FORM, "message": words})

        assert enqueued()[0]["message"] == words

    def test_may_go_to_the_view_wherever_it_stands(self, live_server):
        assert httpx.post(f"{live_server.url}/elsewhere", json=FORM, trust_env=False).status_code == 202


class TestAFormThatIsRefused:
    @pytest.mark.parametrize(
        ("change", "field"),
        [
            ({"name": None}, "name"),
            ({"name": "   "}, "name"),
            ({"email": ""}, "email"),
            ({"message": "\n \t"}, "message"),
            ({"name": 7}, "name"),
            ({"name": ["Ada"]}, "name"),
            ({"name": "x" * 201}, "name"),
            ({"name": "Ada\nBcc: all@example.com"}, "name"),
            ({"name": "Ada\u2028Lovelace"}, "name"),
            ({"name": "Ada\u0000"}, "name"),
            ({"email": "ada"}, "email"),
            ({"email": "ada@example.com\nBcc: all@example.com"}, "email"),
            ({"email": "ada@example.com, bob@example.com"}, "email"),
            ({"email": f"{'x' * 250}@example.com"}, "email"),
            ({"message": "x" * 20_001}, "message"),
            ({"message": "NUL \u0000"}, "message"),
            ({"message": "a lone surrogate \ud800"}, "message"),
            ({"message": {"text": "x"}}, "message"),
            ({"query": {"x": "y" * 9_000}}, "query"),
            ({"query": {"x": float("nan")}}, "query"),
            ({"tenantId": 7}, "tenantId"),
            ({"identityId": {"id": 7}}, "identityId"),
            ({"timestamp": True}, "timestamp"),
            ({"timestamp": float("inf")}, "timestamp"),
            ({"phone": "1"}, "phone"),
            ({"Name": "Ada"}, "Name"),
            ({"\ud800": "x"}, "\\ud800"),
        ],
    )
    def test_is_told_which_field_is_wrong(self, post, change, field):
        answer = post(content=json.dumps({**FORM, **change}), headers={"Content-Type": "application/json"})

        assert answer.status_code == 400
        assert answer.json()["field"] == field
        assert field in answer.json()["errors"]
        assert not Message.objects.exists()

    def test_is_told_all_that_is_wrong(self, post):
        errors = post(json={"phone": "1", "email": "ada"}).json()["errors"]

        assert sorted(errors) == ["email", "message", "name", "phone"]

    @pytest.mark.parametrize(
        "content",
        [
            b"",
            b"not json",
            b"\xff\xfe",
            b"[]",
            b'"text"',
            b"null",
            b"7",
            b"{",
            b"[" * 50_000,
            b'{"a":' * 5_000,
            b'{"query": ' + b"9" * 5_000 + b"}",
        ],
    )
    def test_is_json_that_is_none_or_no_object(self, post, content):
        answer = post(content=content, headers={"Content-Type": "application/json"})

        assert (answer.status_code, answer.json()["field"]) == (400, "body")

    def test_is_nested_too_deeply(self, post):
        deep: object = "x"
        for _ in range(30):
            deep = [deep]

        assert post(json={**FORM, "query": deep}).json()["field"] == "query"

    @pytest.mark.parametrize("kind", ["text/plain", "application/xml", "", "application/octet-stream"])
    def test_is_of_another_kind(self, post, kind):
        answer = post(content=json.dumps(FORM), headers={"Content-Type": kind})

        assert (answer.status_code, answer.json()["field"]) == (400, "body")

    @pytest.mark.parametrize("given", ["json", "data", "files"])
    def test_is_too_large(self, post, settings, given):
        settings.LETSGO_CONTACT_MAX_BYTES = 500
        large = {**FORM, "message": "x" * 500}
        parts = {name: (None, value) for name, value in large.items()}
        answer = post(**{given: parts if given == "files" else large})

        assert (answer.status_code, answer.json()["field"]) == (400, "body")
        assert "at most 500 bytes" in answer.json()["error"]

    def test_is_too_large_by_default_from_64_kib_on(self, post):
        assert post(json={**FORM, "message": "x" * 65_536}).json()["field"] == "body"

    def test_is_larger_than_it_says(self, rf, settings):
        settings.LETSGO_CONTACT_MAX_BYTES = 100
        request = rf.post("/v1/contact", data=json.dumps(FORM) + " " * 100, content_type="application/json")
        request.META["CONTENT_LENGTH"] = ""

        assert ContactView.as_view()(request).status_code == 400

    def test_is_larger_than_a_message_may_be(self, post, settings):
        settings.LETSGO_WORKER = {"MAX_PAYLOAD_BYTES": 50}

        assert (post(json=FORM).status_code, post(json=FORM).json()["field"]) == (400, "body")

    def test_has_a_file(self, post):
        answer = post(data=FORM, files={"message": ("a.txt", b"text")})

        assert (answer.status_code, answer.json()["field"]) == (400, "message")

    @pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "PUT", "PATCH", "DELETE"])
    def test_comes_by_another_method(self, live_server, method):
        answer = httpx.request(method, f"{live_server.url}/v1/contact", trust_env=False)

        assert (answer.status_code, answer.headers["Allow"]) == (405, "POST")


class TestRobots:
    def test_what_fills_in_the_field_that_people_do_not_see_is_thanked_and_forgotten(self, post):
        answer = post(json={**FORM, "website": "https://spam.example"})
        nonsense = post(data={"website": "https://spam.example"})

        assert (answer.status_code, nonsense.status_code) == (202, 202)
        assert isinstance(answer.json()["id"], int)
        assert not Message.objects.exists()

    def test_the_empty_field_of_a_person_is_no_part_of_the_message(self, post):
        post(data={**FORM, "website": ""})

        assert "website" not in enqueued()[0]


class TestTheThrottle:
    def test_too_many_from_one_address_are_told_when_to_come_back(self, post, settings):
        settings.LETSGO_CONTACT_RATE = "2/d"

        answers = [post(json=FORM) for _ in range(4)]

        assert [answer.status_code for answer in answers] == [202, 202, 429, 429]
        assert 0 < int(answers[-1].headers["Retry-After"]) <= 86_400
        assert len(enqueued()) == 2

    def test_there_is_one_by_default(self, post):
        statuses = [post(json=FORM).status_code for _ in range(25)]

        assert statuses[0] == 202
        assert 429 in statuses

    def test_what_is_refused_is_not_counted(self, post, settings):
        settings.LETSGO_CONTACT_RATE = "1/d"
        for _ in range(3):
            assert post(json={}).status_code == 400

        assert post(json=FORM).status_code == 202

    def test_it_may_be_off(self, post, settings):
        settings.LETSGO_CONTACT_RATE = None

        assert {post(json=FORM).status_code for _ in range(15)} == {202}

    def test_a_header_that_anybody_can_send_does_not_help(self, post, settings):
        settings.LETSGO_CONTACT_RATE = "1/d"
        post(json=FORM)

        assert post(json=FORM, headers={"X-Forwarded-For": "203.0.113.9"}).status_code == 429

    def test_each_address_has_its_own_count_and_a_household_of_ipv6_one(self):
        rate = Rate(1, 60)

        def waits(address, now=1000.0):
            return views.seconds_to_wait(address, rate, now)

        assert waits("192.0.2.1") == 0
        assert waits("192.0.2.2") == 0
        assert waits("192.0.2.1") == 20
        assert waits("192.0.2.1", 1020.0) == 0
        assert waits("2001:db8:0:1::1") == 0
        assert waits("2001:db8:0:1::2") == 20
        assert waits("2001:db8:0:2::1") == 0
        assert [waits(""), waits("")] == [0, 20]

    def test_a_cache_that_is_down_lets_everybody_through(self, post, settings, monkeypatch, caplog):
        class Down:
            def add(self, *arguments, **options):
                raise ConnectionError("redis://:password@cache")

        settings.LETSGO_CONTACT_RATE = "1/d"
        monkeypatch.setattr(views, "cache", Down())

        assert [post(json=FORM).status_code for _ in range(2)] == [202, 202]
        assert "not throttled: the cache fails (ConnectionError)" in caplog.text
        assert "password" not in caplog.text

    def test_a_cache_that_keeps_nothing_throttles_nothing(self, post, settings):
        settings.CACHES = {"default": {"BACKEND": "django.core.cache.backends.dummy.DummyCache"}}
        settings.LETSGO_CONTACT_RATE = "1/d"

        assert [post(json=FORM).status_code for _ in range(2)] == [202, 202]
