"""No secret of a message is sent to an error tracker, or to the admins, with the variables of a traceback."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
from django.db import connection

from tests.support import ROOT

pytest.importorskip("sentry_sdk")
pytestmark = pytest.mark.django_db(transaction=True)

SECRET = "4242-canary-4242"
OWN = "a_variable_of_the_handler"


@pytest.fixture(params=["with variables", "without variables"])
def seen(request, test_database_url, tmp_path):
    """What a tracker was sent, by case, and the mails to the admins."""
    mails = tmp_path / "mails"
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "DATABASE_URL": test_database_url,
        "DJANGO_SETTINGS_MODULE": "tests.errortracking.settings",
        "ERRORTRACKING_SECRET": SECRET,
        "ERRORTRACKING_MAILS": str(mails),
        "ERRORTRACKING_LOCALS": str(int(request.param == "with variables")),
        "LETSGO_WORKER_CONTEXT": "sentry,tracked,tracked-too-much",
    }
    connection.close()
    done = subprocess.run(
        [sys.executable, "-m", "tests.errortracking"],
        env=environment,
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-5000:]
    return request.param, json.loads(done.stdout), [path.read_text() for path in mails.iterdir()]


def test_no_secret_of_a_message_is_sent(seen):
    variables, sent, mails = seen
    leaks = [
        f"{name}: {around(text)}"
        for name, texts in sent.items()
        for text in texts
        if name != OWN and SECRET in text
    ]
    assert not leaks, "\n\n".join(leaks)
    assert all(sent.values()), [name for name, texts in sent.items() if not texts]
    # The mails show variables whatever the tracker is told; the handler's own payload is in them.
    leaks = [around(mail) for mail in mails if SECRET in mail and OWN_FRAME not in mail]
    assert not leaks, "\n\n".join(leaks)
    # The control: what a handler has in a variable of its own is where we looked.
    assert any(SECRET in text for text in sent[OWN]) == (variables == "with variables")
    assert any(SECRET in mail for mail in mails)


OWN_FRAME = "fail_with_the_payload_in_a_variable"


def around(text):
    """The surroundings of the first secret in a text."""
    at = text.index(SECRET)
    return text[max(0, at - 700) : at + 100]
