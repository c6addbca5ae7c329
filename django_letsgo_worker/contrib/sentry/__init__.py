"""A scope of Sentry around each delivery; an optional app, silent until sentry_sdk.init() was called."""
