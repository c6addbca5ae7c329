"""A project that uses the public API, for type checkers alone: nothing here is run.

script/lint checks it with mypy and pyright, both strict. `type: ignore` marks what must be an error: where
it is none any more, the comment itself is one.
"""
