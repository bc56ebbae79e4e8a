"""A rotation under load: applications of every kind look up while an OCI key rotates, and the
daemon is killed and started again in between.

seen.py     what one application was given: from when to when each secret, never the secret
judge.py    nothing dead and nothing older was handed out; pure
clients.py  the applications, each a process of its own
__main__.py the cloud, the daemon, the applications, the kills

python -m tests.under_load --lookups 1000000 --kills 6
"""
