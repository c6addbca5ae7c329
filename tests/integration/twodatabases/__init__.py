"""A project with two databases that both hold queues, for tests with real processes."""
