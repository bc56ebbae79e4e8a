"""kill -9 at random instants: the real daemon against a cloud that outlives it.

outside.py    the cloud and the daemon as processes; nothing listens but loopback and a socket
evidence.py   what was seen: lookups, calls, orders, kills; never a secret, only its SHA-256
clients.py    applications that look up and call, one that asks late
people.py     orders for keyman, and a hand in the provider's console
weather.py    what the cloud gets wrong while all that goes on
aims.py       when to kill
stores.py     where secrets rest, and strangers who read them there
outage.py     a vault that is away for a moment
played.py     one credential with all who have to do with it
rest.py       what must be so at the end of a life
life.py       one home, one cloud, many kills, and the end
verdict.py    the invariants, judged from the cloud's own log
runs.py       lives as processes of their own, some at a time

python -m tests.power_cut --kills 200
"""
