"""A Django app for tests: handlers that keep a ledger, misbehave or wait, and the guards to switch off."""
