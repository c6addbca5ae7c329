"""A program whose messages carry a secret, watched by an error tracker and by the admins' mails."""
