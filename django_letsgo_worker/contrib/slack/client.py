"""One HTTP request to Slack, and the answer to it. The URL leaves this module in no text at all.

httpx is used below its client: that one logs each URL, and its errors carry the request.
"""

from __future__ import annotations

import logging
import re
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlsplit

from ...errors import LetsGoError
from . import conf

try:
    import httpx
except ImportError as error:
    sentence = "contrib.slack needs httpx: pip install 'django-letsgo-worker[slack]'."
    raise ImportError(sentence) from error

TIMEOUT = httpx.Timeout(10.0, connect=5.0)
# Seconds of a Retry-After: without one, the least and the most that are obeyed.
USUAL_PAUSE, SHORTEST_PAUSE, LONGEST_PAUSE = 30.0, 1.0, 3_600.0
MOST_BYTES = 4_096


class SlackFailed(LetsGoError):
    """A message that Slack did not take this time; `reason` says why, without the URL."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"Slack did not take the message: {reason}.")
        self.reason = reason


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """Slack's answer: the status, its word for an error if it gave one, and when to come back (seconds)."""

    status: int
    word: str = ""
    retry_after: float = USUAL_PAUSE


def post(body: dict[str, Any]) -> Answer:
    """Send one message; SlackFailed when there was no answer."""
    answer, reason = _try(body)
    if answer is None:
        # Outside of any except clause: what httpx raised, and its context, may hold the URL.
        raise SlackFailed(reason)
    return answer


def _try(body: dict[str, Any]) -> tuple[Answer | None, str]:
    try:
        with _quiet_httpcore():
            return _exchange(body), ""
    except httpx.TimeoutException:
        return None, "no answer in time"
    except Exception as error:  # whatever it is, its text may hold the URL
        return None, type(error).__name__


def _exchange(body: dict[str, Any]) -> Answer:
    url = conf.slack_url()
    request = httpx.Request(
        "POST",
        url,
        json=body,
        headers={"User-Agent": "django-letsgo-worker", "Accept": "*/*", "Connection": "close"},
        extensions={"timeout": TIMEOUT.as_dict()},
    )
    # A transport follows no redirect.
    with httpx.HTTPTransport(proxy=_proxy(url)) as transport:
        response = transport.handle_request(request)
        try:
            return Answer(
                status=response.status_code,
                word=_word(response) if response.status_code >= 400 else "",
                retry_after=pause_of(response.headers.get("Retry-After", "")),
            )
        finally:
            response.close()


class _WhileNotPosting(logging.Filter):
    """A filter that drops the lines of a request to Slack."""

    def filter(self, record: logging.LogRecord) -> bool:
        return not _posting.get()


_posting = ContextVar("posting", default=False)
_while_not_posting = _WhileNotPosting()


@contextmanager
def _quiet_httpcore() -> Iterator[None]:
    """Keep httpcore's DEBUG lines out of the log: they show answers, and a redirect repeats the URL."""
    for part in ("connection", "http11", "proxy", "socks"):
        logging.getLogger(f"httpcore.{part}").addFilter(_while_not_posting)
    token = _posting.set(True)
    try:
        yield
    finally:
        _posting.reset(token)


def _proxy(url: str) -> str | None:
    """Return the proxy that the environment names for this URL, as httpx's own client would use it."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    if conf.is_loopback(host) or urllib.request.proxy_bypass(host):
        return None
    proxies = urllib.request.getproxies()
    return proxies.get(parts.scheme) or proxies.get("all")


def _word(response: httpx.Response) -> str:
    """Return Slack's word for what is wrong, as invalid_payload; empty if it says more than a word."""
    read = b""
    assert isinstance(response.stream, httpx.SyncByteStream)
    for chunk in response.stream:
        read += chunk
        if len(read) > MOST_BYTES:
            return ""
    text = read.decode("ascii", "replace").strip()
    return text if re.fullmatch(r"[a-z_]{3,40}", text) else ""


def pause_of(header: str) -> float:
    """Return how many seconds a Retry-After asks for, as a number or as a date, within bounds."""
    header = header.strip()
    seconds = USUAL_PAUSE
    if header.isascii() and header.isdecimal():
        seconds = float(header[:12])
    elif header:
        try:
            moment = parsedate_to_datetime(header)
            moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
            seconds = (moment - datetime.now(UTC)).total_seconds()
        except (ValueError, TypeError, OverflowError):
            pass
    return min(LONGEST_PAUSE, max(SHORTEST_PAUSE, seconds))
