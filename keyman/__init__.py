"""What applications import. Needs the standard library only; the daemon is keyman[daemon]."""

from keyman.client import Secret, get, provider, secret
from keyman.errors import Error, NotAllowed, NotFound, NotRunning, NoUsableSecret

__all__ = [
    "Error",
    "NoUsableSecret",
    "NotAllowed",
    "NotFound",
    "NotRunning",
    "Secret",
    "__version__",
    "get",
    "provider",
    "secret",
]

__version__ = "0.1.0"
