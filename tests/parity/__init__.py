"""What we come from, row by row: a test named after each row's id, on the real thing.

L is LetsGo's worker, A is asyncjobs. What a row is about in depth is tested elsewhere; here each is
shown once, from outside, as somebody who comes from there would try it.
"""
