"""One project with six packages that watch, schedule or start tasks of Django's, whoever runs them."""
