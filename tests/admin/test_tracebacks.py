"""Tracebacks on pages: frames of the project in sight, frames of libraries folded, whatever the text is."""

from __future__ import annotations

import json
import re
import traceback

import pytest
from django.utils.html import escape

from django_letsgo_worker import conf
from django_letsgo_worker.admin import tracebacks

OWN = '  File "/srv/shop/handlers.py", line 7, in charge\n    pay(order)\n    ~~~^^^^^^^\n'
VENV = "/srv/venv/lib/python3.12/site-packages"
LIBRARY = f'  File "{VENV}/pay/api.py", line 3, in pay\n    raise Declined()\n'
STANDARD = '  File "/usr/lib/python3.11/json/decoder.py", line 355, in raw_decode\n    raise Wrong\n'
HEAD, END = "Traceback (most recent call last):\n", "pay.Declined: no\n"


def parts(text):
    """Return what is open and what is folded on the page of a traceback."""
    page = tracebacks.shown(text)
    folded = re.findall(r"<details><summary>(.*?)</summary><pre>(.*?)</pre></details>", page, re.DOTALL)
    rest = re.sub(r"<details>.*?</details>", "", page, flags=re.DOTALL)
    return re.findall(r"<pre>(.*?)</pre>", rest, re.DOTALL), folded


def test_frames_of_libraries_are_folded_and_counted_between_those_of_the_project():
    ours = f'  File "{conf.__file__}", line 1, in run\n    run()\n'
    opened, folded = parts(f"{HEAD}{ours}{OWN}{STANDARD}{LIBRARY}{END}")

    assert [said for said, _lines in folded] == ["1 frame of libraries", "2 frames of libraries"]
    assert "decoder.py" in folded[1][1] and "api.py" in folded[1][1] and "raise Declined()" in folded[1][1]
    assert [lines.splitlines()[0] for lines in opened] == [
        HEAD.strip(),
        escape(OWN.splitlines()[0]),
        END.strip(),
    ]
    assert "~~~^^^^^^^" in opened[1]


def test_nothing_is_folded_where_no_frame_is_of_the_project():
    assert parts(f"{HEAD}{STANDARD}{LIBRARY}{END}")[1] == []


def test_a_chain_of_exceptions_keeps_the_words_between_them():
    text = f"{HEAD}{OWN}{LIBRARY}{END}\nThe above exception was the direct cause of it:\n\n{HEAD}{OWN}{END}"
    opened, folded = parts(text)

    assert len(folded) == 1
    assert "The above exception was the direct cause of it:" in opened[1] and opened[1].endswith("no")


def recorded(raising):
    try:
        raising()
    except Exception as error:
        return "".join(traceback.format_exception(error))


def test_what_python_writes_is_read_on_every_version():
    opened, folded = parts(recorded(lambda: json.loads("{")))

    assert "test_tracebacks.py" in "".join(opened) and "JSONDecodeError" in opened[-1]
    assert "decoder.py" in "".join(lines for _said, lines in folded)


def raise_group():
    errors = []
    for text in ("{", "["):
        try:
            json.loads(text)
        except ValueError as error:
            errors.append(error)
    raise ExceptionGroup("both", errors)


def test_an_exception_group_is_folded_inside_its_bars():
    opened, folded = parts(recorded(raise_group))

    assert len(folded) == 2
    assert all("decoder.py" in lines and "test_tracebacks.py" not in lines for _said, lines in folded)
    assert "ExceptionGroup: both (2 sub-exceptions)" in "".join(opened)
    assert "---------------- 2 ----------------" in "".join(opened)


def test_repeated_lines_belong_to_their_frame():
    def repeat(n):
        return repeat(n - 1) if n else json.loads("{")

    opened, _folded = parts(recorded(lambda: repeat(9)))

    assert any("[Previous line repeated" in lines for lines in opened)


@pytest.mark.parametrize(
    "text", ["", "no traceback", '  File "', '  File "x", line 1', "<script>alert(1)</script>", "\0\u202e"]
)
def test_what_is_no_traceback_is_shown_as_it_is(text):
    opened, folded = parts(text)

    assert "".join(opened) == escape(text) and folded == []


def test_markup_in_a_frame_stays_text():
    page = tracebacks.shown(f'{HEAD}{LIBRARY}{OWN}  File "</pre><script>", line 1, in <b>\n{END}')

    assert "<script>" not in page and "<b>" not in page


def test_a_long_line_of_blanks_takes_no_time():
    assert parts(" " * 200_000)[1] == []
