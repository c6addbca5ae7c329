"""Attempts as Sentry's transactions, schedules as its monitors; optional, silent until sentry_sdk.init()."""
