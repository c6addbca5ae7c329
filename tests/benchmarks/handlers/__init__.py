"""What the workers of each contestant import: its handlers, which all do the same as little as possible.

Nothing of the measuring side is here, so that a worker process carries nothing of it.
"""
