"""Projects that use other people's packages over our tasks, each with settings and an environment of its own.

`script/compatibility NAME` runs one of them; the default run of the tests has none of these packages.
"""
