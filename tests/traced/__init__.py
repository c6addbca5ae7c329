"""A project that OpenTelemetry and Sentry watch: what they are sent stands in two files, a line each."""
