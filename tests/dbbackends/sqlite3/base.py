"""As ENGINE: Django's backend, with a project's cursors."""

from django.db.backends.sqlite3 import base

from tests.dbbackends import OwnCursors


class DatabaseWrapper(OwnCursors, base.DatabaseWrapper):
    pass
