"""The setting of this app, from the environment or Django's settings, read at each call.

What is sent to Sentry, and how much of it, is set where the SDK is: in sentry_sdk.init().
"""

from __future__ import annotations

from fnmatch import fnmatchcase

from .. import setting_names


def check_ins() -> tuple[str, ...]:
    """Return the patterns of the schedules that Sentry is to watch (ImproperlyConfigured).

    None by default: each makes a monitor, which is paid for.
    """
    return setting_names("LETSGO_SENTRY_CHECK_INS", ())


def checks_in(schedule: str) -> bool:
    """Whether Sentry is to watch a schedule, by its name."""
    return any(fnmatchcase(schedule, pattern) for pattern in check_ins())
