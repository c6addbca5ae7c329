"""Tasks as other people write them: with Django's own decorator, and no options of ours."""

from __future__ import annotations

from tests.testapp.models import Entry

from .framework import task


@task
def index(n):
    Entry.objects.get(n=n)


@task
def mail(text):
    return text
