"""get_access_token(): what is in it, how long it is kept, and what is said when it cannot be made."""

from __future__ import annotations

import json
import logging
import sys
import threading
import time
import traceback
from types import SimpleNamespace

import jwt
import pytest
from django.core.exceptions import ImproperlyConfigured

from django_letsgo_worker import LetsGoError
from django_letsgo_worker.contrib import api_token
from django_letsgo_worker.contrib.api_token import (
    TokenKeyMissing,
    TokenKeyUnusable,
    api_url,
    apps,
    conf,
    get_access_token,
    keys,
    tokens,
)
from tests.contrib.keys import private_pem, public_pem

NAMES = (conf.PRIVATE_KEY, conf.KEY_ID, conf.PUBLIC_KEYS, conf.AUDIENCE, conf.URL)


@pytest.fixture(autouse=True)
def clean(monkeypatch):
    """Nothing in the environment, and no token from another test."""
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(tokens._Cache, "issued", None)


@pytest.fixture
def key(settings):
    settings.LETSGO_API_TOKEN_PRIVATE_KEY = private_pem()
    settings.LETSGO_API_TOKEN_KEY_ID = "2026-11"


@pytest.fixture
def at(monkeypatch):
    """Set the clock of get_access_token() so many seconds away from now."""

    def set_clock(seconds):
        now = time.time() + seconds
        monkeypatch.setattr(tokens, "time", SimpleNamespace(time=lambda: now))

    return set_clock


def read(token):
    return jwt.get_unverified_header(token), jwt.decode(token, options={"verify_signature": False})


# -- what is in it ----------------------------------------------------------------------------------------


def test_a_token_says_who_calls_whom_and_for_how_long(key):
    header, claims = read(get_access_token())

    assert (header["alg"], header["kid"]) == ("RS256", "2026-11")
    assert claims["sub"] == "letsgo:worker"
    assert claims["aud"] == "letsgo:service"
    assert claims["iss"] == "letsgo:2026-11"
    assert claims["exp"] - claims["iat"] == 3600
    assert abs(claims["iat"] - time.time()) < 60
    assert len(claims["jti"]) == 32


def test_an_ed25519_key_signs_with_eddsa(key, settings):
    settings.LETSGO_API_TOKEN_PRIVATE_KEY = private_pem("ed25519")
    assert read(get_access_token())[0]["alg"] == "EdDSA"


def test_the_audience_can_be_chosen(key, settings):
    settings.LETSGO_API_AUDIENCE = "shop:api"
    assert read(get_access_token())[1]["aud"] == "shop:api"


def test_the_key_may_be_a_file(key, settings, tmp_path):
    path = tmp_path / "key.pem"
    path.write_text(private_pem())
    for given in (path, str(path)):
        settings.LETSGO_API_TOKEN_PRIVATE_KEY = given
        jwt.decode(get_access_token(), public_pem(private_pem()), ["RS256"], audience="letsgo:service")


def test_the_environment_wins_and_may_write_line_ends_as_backslash_n(key, monkeypatch):
    monkeypatch.setenv("LETSGO_API_TOKEN_PRIVATE_KEY", private_pem("rsa", "other").replace("\n", "\\n"))
    monkeypatch.setenv("LETSGO_API_TOKEN_KEY_ID", "other")
    token = get_access_token()
    assert read(token)[0]["kid"] == "other"
    jwt.decode(token, public_pem(private_pem("rsa", "other")), ["RS256"], audience="letsgo:service")


# -- how long it is kept ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("age", "is_kept"), [(0, True), (3500, True), (3541, False), (7200, False), (-5, False)]
)
def test_a_token_is_kept_until_a_minute_before_its_end_and_not_when_the_clock_is_set_back(
    key, at, age, is_kept
):
    at(0)
    token = get_access_token()
    at(age)
    assert (get_access_token() == token) is is_kept


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("LETSGO_API_TOKEN_KEY_ID", "2026-12"),
        ("LETSGO_API_AUDIENCE", "another"),
        ("LETSGO_API_TOKEN_PRIVATE_KEY", lambda: private_pem("ed25519")),
    ],
)
def test_a_token_is_not_kept_when_a_setting_changes(key, settings, name, value):
    token = get_access_token()
    setattr(settings, name, value() if callable(value) else value)
    assert get_access_token() != token


def test_many_threads_at_once_make_one_token(key, monkeypatch):
    asked, all_have_asked, made, got = [], threading.Event(), [], []
    read_settings, issue = conf.read, tokens._issue

    def ask_for_settings():
        asked.append(True)
        if len(asked) == 16:
            all_have_asked.set()
        return read_settings()

    def issue_late(given):
        made.append(given)
        assert all_have_asked.wait(30)
        return issue(given)

    monkeypatch.setattr(conf, "read", ask_for_settings)
    monkeypatch.setattr(tokens, "_issue", issue_late)
    threads = [threading.Thread(target=lambda: got.append(get_access_token())) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(made) == 1
    assert len(got) == 16
    assert len(set(got)) == 1


# -- what is said when it cannot be made ------------------------------------------------------------------


@pytest.mark.parametrize("missing", ["LETSGO_API_TOKEN_PRIVATE_KEY", "LETSGO_API_TOKEN_KEY_ID"])
def test_without_a_key_one_error_names_the_setting(key, settings, missing):
    setattr(settings, missing, None)
    with pytest.raises(TokenKeyMissing, match=f"{missing} is not set") as caught:
        get_access_token()
    assert isinstance(caught.value, LetsGoError)


NO_PEM = "neither PEM text nor the path of a readable file"
BROKEN = "-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n-----END PRIVATE KEY-----"
UNUSABLE = {
    "no key at all": (lambda: "Zm9vYmFyIHNlY3JldCBrZXk=", NO_PEM),
    "no such file": (lambda: "/nowhere/secret-key.pem", NO_PEM),
    "a directory": (lambda: "..", NO_PEM),
    "a NUL": (lambda: "a\0b", NO_PEM),
    "a long word": (lambda: "secret" * 2000, NO_PEM),
    "broken": (lambda: BROKEN, "not an unencrypted private RSA or Ed25519 key"),
    "a public key": (lambda: public_pem(private_pem()), "not an unencrypted private"),
    "another kind": (lambda: private_pem("ec"), "not an unencrypted private RSA or Ed25519 key"),
    "short": (lambda: private_pem("short-rsa"), "an RSA key has at least 2048 bits, not 1024"),
}


@pytest.mark.parametrize("case", UNUSABLE)
def test_a_key_that_cannot_be_used_is_refused_without_being_shown(key, settings, case):
    make, why = UNUSABLE[case]
    settings.LETSGO_API_TOKEN_PRIVATE_KEY = make()
    with pytest.raises(TokenKeyUnusable, match=why) as caught:
        get_access_token()
    assert make() not in str(caught.value)
    assert "secret" not in "".join(traceback.format_exception(caught.value))
    assert caught.value.__context__ is None
    assert [one.id for one in apps.check_keys(None)] == ["letsgo_api_token.E002"]


def test_keys_and_tokens_are_in_no_log_and_no_repr(key, caplog):
    with caplog.at_level(logging.DEBUG):
        token = get_access_token()
    body = private_pem().splitlines()[1]
    given = conf.read()
    shown = f"{caplog.text} {tokens._Cache.issued!r} {given!r} {keys.signing_key(given)!r}"
    assert body not in shown
    assert token not in shown
    assert "RSAPrivateKey" not in shown


def test_no_key_is_no_error_of_the_checks():
    assert apps.check_keys(None) == []


def test_without_the_library_one_sentence_says_what_to_install(monkeypatch):
    for name in ("tokens", "keys"):
        monkeypatch.delitem(sys.modules, f"{api_token.__name__}.{name}", raising=False)
    monkeypatch.setitem(sys.modules, "jwt", None)
    monkeypatch.delitem(vars(api_token), "tokens", raising=False)
    with pytest.raises(ImportError, match=r"pip install 'django-letsgo-worker\[api_token\]'"):
        _ = api_token.get_access_token
    monkeypatch.setattr(apps, "find_spec", lambda name: None)
    assert [one.id for one in apps.check_library(None)] == ["letsgo_api_token.E001"]


def test_a_name_that_is_not_there_is_an_attribute_error():
    with pytest.raises(AttributeError, match="has no attribute 'get_acess_token'"):
        _ = api_token.get_acess_token


# -- where it goes ----------------------------------------------------------------------------------------


def test_the_address_of_the_api_is_a_setting(settings, monkeypatch):
    settings.LETSGO_API_URL = "https://api.example.com/"
    assert api_url() == "https://api.example.com"
    assert api_url("/v1/orders") == api_url("v1/orders") == "https://api.example.com/v1/orders"
    monkeypatch.setenv("LETSGO_API_URL", "https://other.example.com")
    assert api_url() == "https://other.example.com"


def test_without_the_address_that_is_said():
    with pytest.raises(ImproperlyConfigured, match=r"^LETSGO_API_URL is not set\.$"):
        api_url()


@pytest.mark.parametrize("value", ["no JSON", "[]", json.dumps({"": "x"}), "7"])
def test_public_keys_that_are_no_mapping_are_refused(key, monkeypatch, value):
    monkeypatch.setenv("LETSGO_API_TOKEN_PUBLIC_KEYS", value)
    with pytest.raises(TokenKeyUnusable, match="LETSGO_API_TOKEN_PUBLIC_KEYS cannot be used"):
        get_access_token()
