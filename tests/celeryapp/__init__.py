"""A Django app as Celery projects write them: it runs under real Celery and, with one import changed, here.

Nothing in it knows django_letsgo_worker: project.py makes the copy whose imports are changed.
"""
