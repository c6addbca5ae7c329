"""The package of Celery's that has the loggers of tasks, under its name there."""
