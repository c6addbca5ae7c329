"""Spans of OpenTelemetry for each enqueue and attempt; an optional app, silent until an SDK is set up."""
