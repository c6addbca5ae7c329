"""The parts of `manage.py letsgo`: one module per noun, and their shared code.

They read arguments, call the verbs of the floors below and print; nothing is decided about rows here.
"""
