"""LetsGo's surroundings: small optional apps, each off unless it is in INSTALLED_APPS.

The core knows none of them, and each works without the others; one that finds another installed may use it.
"""
