"""Benchmarks: this app beside its peers and beside raw SQL, in one run; `script/bench` starts them.

No tests live here: tests/docs/test_bench.py holds those of the arithmetic and of the command.
"""
