"""What applications import, and what keyman's own commands ask the agent with.

lookups      the current secret: get, secret, provider
held         what this process holds, and whether it is still current
page         the generation page, read
asking       a question to the agent
connection   what it goes over: the agent's socket
remote       or TCP
sdks         what HTTP libraries and Google's take; made when it is asked for

Imports the standard library and keyman.errors only, and of the former at first only what costs
next to nothing: `keyman get` is called in shells' loops.
"""

from keyman.client.asking import addresses, call, checked
from keyman.client.connection import Silent
from keyman.client.held import FIELDS, Secret
from keyman.client.lookups import NAME_LETTERS, get, lookup, provider, secret

__all__ = [
    "FIELDS",
    "NAME_LETTERS",
    "Secret",
    "Silent",
    "addresses",
    "call",
    "checked",
    "get",
    "lookup",
    "provider",
    "secret",
]
