"""Vaults for whole runs of keyman: imitations over HTTP that outlive whoever is killed in a test.

gate.py       what every call to one of them goes through: counted, lost, held, watched
kinds.py      each kind of store: where it is served, how a configuration names it, what it shows
"""
