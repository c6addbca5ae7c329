"""The checks of `manage.py check`: findings about this app before anything runs.

Importing it registers them. Each file is about one thing that can be wrong.
"""

from . import configuration, database, handlers, rows

__all__ = ["configuration", "database", "handlers", "rows"]
