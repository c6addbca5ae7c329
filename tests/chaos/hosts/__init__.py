"""Hosts of a site as Linux network namespaces, against one PostgreSQL, while one fault follows another.

`script/hosts` runs it and says how; `tests/chaos/test_hosts.py` runs its short form. The parts:

- `network`: hosts, the switch between them and the server, and hosts that are cut off or far away;
- `clocks`: a wrong clock for the processes of a host;
- `site`: what enqueues all the time, and keeps account of what it committed;
- `trial`: the faults, in order, and how the others got over each;
- `verdict`: what is lost, doubled or late after all of it.
"""
