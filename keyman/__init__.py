"""What applications import. Needs the standard library only; the daemon is keyman[daemon]."""

from keyman.client import Secret, get, provider, secret
from keyman.errors import Error, NotAllowed, NotFound, NotRunning, NoUsableSecret

TYPE_CHECKING = False
if TYPE_CHECKING:
    from keyman.client.sdks import auth, google_refresh_handler

__all__ = [
    "Error",
    "NoUsableSecret",
    "NotAllowed",
    "NotFound",
    "NotRunning",
    "Secret",
    "__version__",
    "auth",
    "get",
    "google_refresh_handler",
    "provider",
    "secret",
]

__version__ = "0.1.0"


def __getattr__(name: str) -> object:
    """What few applications need, and what would make each start slower, comes when it is named."""
    if name in {"auth", "google_refresh_handler"}:
        from keyman.client import sdks

        return getattr(sdks, name)
    raise AttributeError(f"module 'keyman' has no attribute {name!r}")
