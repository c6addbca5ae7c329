"""Settings of the shop that demonstrates django_letsgo_worker; the tests use them too.

DATABASE_URL names the database, in the form of django-environ; the default is a SQLite file beside
manage.py.
"""

from pathlib import Path

import environ

HERE = Path(__file__).resolve().parent

env = environ.Env()

DEBUG = env.bool("DJANGO_DEBUG", default=True)
SECRET_KEY = env.str("DJANGO_SECRET_KEY", default="only-for-the-demonstration-and-the-tests")
ALLOWED_HOSTS = env.list("DJANGO_ALLOWED_HOSTS", default=["localhost", "127.0.0.1"])

INSTALLED_APPS = [
    "testproject.shop",
    "django_letsgo_worker",
    "django_letsgo_worker.contrib.api_token",
    "django_letsgo_worker.contrib.contact",
    "django_letsgo_worker.contrib.slack",
    "django_letsgo_worker.contrib.stripe",
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
]

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
]

ROOT_URLCONF = "testproject.urls"
WSGI_APPLICATION = "testproject.wsgi.application"

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]

DATABASES = {"default": env.db("DATABASE_URL", default=f"sqlite:///{HERE / 'db.sqlite3'}")}

if DATABASES["default"]["ENGINE"].endswith("sqlite3"):
    # WAL lets readers continue while one process writes; IMMEDIATE makes a writer wait for its turn
    # instead of failing in the middle of a transaction.
    DATABASES["default"]["OPTIONS"] = {
        "timeout": 20,
        "transaction_mode": "IMMEDIATE",
        "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;",
    }

DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
LANGUAGE_CODE = "en"
TIME_ZONE = "UTC"
USE_TZ = True
STATIC_URL = "static/"

# The mail server on this machine, which Django 6.1 wants to be named; older versions use it by default.
MAILERS = {"default": {"BACKEND": "django.core.mail.backends.smtp.EmailBackend"}}

LETSGO_WORKER = {}

# Stripe's signing secret for test events; in the demonstration the shop plays Stripe itself.
LETSGO_STRIPE_TEST_WEBHOOK_KEY = "whsec_only-for-the-demonstration-and-the-tests"

# The app's log on the console: what is claimed, what failed, what fired. It never contains payloads.
# The site logs only what goes wrong: its page asks for news every two seconds.
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"line": {"()": "testproject.shop.lines.Line"}},
    "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "line"}},
    "loggers": {
        "django_letsgo_worker": {"handlers": ["console"], "level": "INFO"},
        "django.server": {"level": "WARNING"},
    },
}
