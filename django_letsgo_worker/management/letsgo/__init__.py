"""The parts of `manage.py letsgo`: one file per noun, and what they share.

They read arguments, call the verbs of the floors below and print; no decision about rows is made here.
"""
