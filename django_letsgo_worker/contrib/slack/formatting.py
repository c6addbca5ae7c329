"""Slack's markup: what comes from people is escaped, so that nobody can mention a channel or fake a link."""

from __future__ import annotations

from typing import Any

from ...validation import storable


class Mrkdwn(str):
    """Text that is Slack's markup already, and is not escaped again."""

    __slots__ = ()


def escape(value: Any) -> Mrkdwn:
    """Return a value as it is to be read: &, < and > are escaped, unless it is markup already."""
    if isinstance(value, Mrkdwn):
        return value
    text = str(value).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return Mrkdwn(text)


def mrkdwn(template: str, *values: Any) -> Mrkdwn:
    """Return markup with values filled in: mrkdwn("*{}* has paid", name). The values are escaped."""
    return Mrkdwn(template.format(*(escape(value) for value in values)))


def short(value: Any, longest: int = 200) -> str:
    """Return a value as one line that is not too long; empty for None."""
    line = "" if value is None else " ".join(storable(str(value)).split())
    return line if len(line) <= longest else f"{line[: longest - 1]}…"


def quoted(value: Any, longest: int = 3_000) -> Mrkdwn:
    """Return text as a quotation, line by line, cut when it is too long."""
    text = storable(str(value)).strip()
    text = text if len(text) <= longest else f"{text[: longest - 1]}…"
    return Mrkdwn("\n".join(f"> {escape(line)}" for line in text.splitlines()))
