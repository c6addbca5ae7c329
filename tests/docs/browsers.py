"""Browsers for those who follow a page of the documentation: Chromium, and one of plain HTTP without scripts.

They know links, buttons and fields by the words that a reader sees; no test, and no address of our pages.
"""

from __future__ import annotations

import http.client
import re
import urllib.parse
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass, field
from html.parser import HTMLParser
from http.cookiejar import CookieJar
from typing import Any, Protocol

from tests.support import wait_until


class Browser(Protocol):
    """What a reader does with one. What is not there yet is looked for again, for a while."""

    def open(self, url: str) -> None: ...
    def fill(self, label: str, value: str) -> None: ...
    def press(self, label: str) -> None:
        """Press the button or follow the link that is called so, or whose name begins so."""

    def see(self, words: str) -> None: ...


def squeezed(text: str) -> str:
    return " ".join(text.split())


class Chromium:
    """A real browser, with the scripts of the pages."""

    def __init__(self, driver: Any) -> None:
        self.driver = driver
        self._has_typed = False

    def open(self, url: str) -> None:
        self.driver.get(url)
        self._has_typed = False

    def fill(self, label: str, value: str) -> None:
        box = self._field(label)
        box.clear()
        box.send_keys(value)
        self._has_typed = True

    def press(self, label: str) -> None:
        self._again_until(lambda: self._find(label), f"a link or button {label!r}")[0].click()
        self._has_typed = False

    def see(self, words: str) -> None:
        self._again_until(lambda: words in self._text(), f"{words!r}")

    def _again_until(self, condition: Callable[[], Any], what: str) -> Any:
        from selenium.common.exceptions import StaleElementReferenceException

        def look() -> Any:
            try:
                found = condition()
            except StaleElementReferenceException:  # it was refreshed by its own script
                return None
            if not found and not self._has_typed:
                self.driver.refresh()
            return found

        return wait_until(look, step=0.3, what=f"{what} on {self.driver.current_url}")

    def _text(self) -> str:
        return squeezed(self.driver.execute_script("return document.body.textContent"))

    def _field(self, label: str) -> Any:
        named = f"//label[starts-with(normalize-space(), '{label}')]"
        (found, *_) = self.driver.find_elements("xpath", named)
        return self.driver.find_element("id", found.get_attribute("for"))

    def _find(self, label: str) -> list[Any]:
        """Return the links and buttons of that name, then those whose name begins so."""
        quoted = "concat('" + label.replace("'", "', \"'\", '") + "', '')"
        name = "normalize-space(concat(self::input/@value, self::a, self::button))"
        some = "//*[self::a or self::button or self::input[@type='submit']]"
        for test in (f"{name}={quoted}", f"starts-with({name}, {quoted})"):
            found = self.driver.find_elements("xpath", f"{some}[{test}]")
            if shown := [one for one in found if one.is_displayed()]:
                return shown
        return []


@dataclass
class Form:
    method: str
    action: str
    values: list[tuple[str, str]] = field(default_factory=list)


@dataclass(frozen=True)
class Button:
    form: Form
    label: str
    pair: tuple[str, str] | None
    action: str | None


class Parsed(HTMLParser):
    """The links, fields and buttons of a page, with their words."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[tuple[str, str]] = []
        self.labels: dict[str, str] = {}
        self.ids: dict[str, tuple[Form, str]] = {}
        self.buttons: list[Button] = []
        self.texts: list[str] = []
        self._forms: dict[str, Form] = {}
        self._form = Form("get", "")
        self._open: dict[str, tuple[dict[str, str], int]] = {}
        self._select: dict[str, str] = {}
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        if tag == "form":
            self._form = Form(given.get("method", "get").lower(), given.get("action", ""))
            self._forms[given.get("id", "")] = self._form
        elif tag in ("a", "label", "button", "textarea"):
            self._open[tag] = (given, len(self.texts))
        elif tag == "select":
            self._select = given
        elif tag == "option" and "selected" in given:
            self._has(self._select, given.get("value", ""))
        elif tag == "input":
            self._input(given)

    def handle_endtag(self, tag: str) -> None:
        if tag not in self._open:
            return
        given, at = self._open.pop(tag)
        words = squeezed("".join(self.texts[at:]))
        if tag == "a" and "href" in given:
            self.links.append((words, given["href"]))
        elif tag == "label":
            self.labels.setdefault(words.rstrip(":"), given.get("for", ""))
        elif tag == "textarea":
            self._has(given, "".join(self.texts[at:]).lstrip("\n"))
        elif tag == "button":
            self._button(given, words)

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    def _input(self, given: dict[str, str]) -> None:
        kind = given.get("type", "text")
        if kind == "submit":
            self._button(given, given.get("value", ""))
        elif kind not in ("checkbox", "radio") or "checked" in given:
            self._has(given, given.get("value", "on" if kind == "checkbox" else ""))

    def _has(self, given: dict[str, str], value: str) -> None:
        form = self._forms.get(given.get("form", ""), self._form)
        if "name" in given and "disabled" not in given:
            form.values.append((given["name"], value))
            self.ids[given.get("id", "")] = (form, given["name"])

    def _button(self, given: dict[str, str], words: str) -> None:
        form = self._forms.get(given.get("form", ""), self._form)
        pair = (given["name"], given.get("value", "")) if "name" in given else None
        if given.get("type", "submit") == "submit":
            self.buttons.append(Button(form, words, pair, given.get("formaction")))


class Plain:
    """HTTP and HTML alone, as a browser in which scripts are off."""

    def __init__(self) -> None:
        self._opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(CookieJar()))
        self._has_typed = False
        self.url = ""

    def open(self, url: str) -> None:
        self._ask(url)

    def fill(self, label: str, value: str) -> None:
        form, name = self.page.ids[self.page.labels[label]]
        form.values = [(key, value if key == name else old) for key, old in form.values]
        self._has_typed = True

    def press(self, label: str) -> None:
        def find() -> Callable[[], None] | None:
            for fits in (str.__eq__, str.startswith):
                for button in self.page.buttons:
                    if fits(button.label, label):
                        return lambda: self._send(button)
                for words, address in self.page.links:
                    if fits(words, label):
                        return lambda: self._ask(urllib.parse.urljoin(self.url, address))
            return None

        self._again_until(find, f"a link or button {label!r}")()

    def see(self, words: str) -> None:
        if self._has_typed:  # without scripts there is a button that shows what follows from the fields
            self.press("Preview")
            self._has_typed = True
        self._again_until(lambda: words in squeezed(" ".join(self.page.texts)), f"{words!r}")

    def _again_until(self, condition: Callable[[], Any], what: str) -> Any:
        def look() -> Any:
            found = condition()
            if not found and not self._has_typed:
                self._ask(self.url)
            return found

        return wait_until(look, step=0.3, what=f"{what} on {self.url}")

    def _send(self, button: Button) -> None:
        values = urllib.parse.urlencode([*button.form.values, *([button.pair] if button.pair else [])])
        address = button.form.action if button.action is None else button.action
        url = urllib.parse.urljoin(self.url, address)
        if button.form.method == "post":
            self._ask(url, values.encode())
        else:
            self._ask(f"{re.sub(r'[?].*', '', url)}?{values}")

    def _ask(self, url: str, data: bytes | None = None) -> None:
        request = urllib.request.Request(url, data, {"Referer": self.url or url})
        self.url, self.page = wait_until(lambda: self._answer(request), step=0.3, what=f"an answer of {url}")
        self._has_typed = False

    def _answer(self, request: urllib.request.Request) -> tuple[str, Parsed] | None:
        """Return the page; None while the site, which starts again when its code changes, gives none.

        A form that was cut off is not sent again: it may have been read.
        """
        try:
            with self._opener.open(request, timeout=30) as answer:
                return answer.url, Parsed(answer.read().decode())
        except (OSError, http.client.HTTPException) as error:
            reason = getattr(error, "reason", error)
            is_cut_off = isinstance(reason, (ConnectionError, http.client.IncompleteRead))
            if isinstance(reason, ConnectionRefusedError) or (is_cut_off and request.data is None):
                return None
            raise
