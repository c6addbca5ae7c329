"""A Django app for tests: tasks of Django's own framework, and the settings by which they are ours."""

BACKEND = "django_letsgo_worker.backend.LetsGoBackend"
TASKS = {
    "default": {"BACKEND": BACKEND, "QUEUES": [], "OPTIONS": {"MAX_ATTEMPTS": 3, "BACKOFF": 0}},
    "once": {"BACKEND": BACKEND, "QUEUES": ["default", "mails"], "OPTIONS": {"MAX_ATTEMPTS": 1}},
}
