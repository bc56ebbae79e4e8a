"""Google access tokens: one at a time, each asked for within a deadline, or one of our errors.

What comes out are plain values; no object and no exception of google-auth leaves this room, not
even as the context of ours, because their texts and frames hold keys, tokens and bodies. Nothing
is tried twice and no token is kept.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from keyman import errors
from keyman.clock import Clock
from keyman.vendors.deadline import within
from keyman.vendors.google_addresses import Endpoints
from keyman.vendors.google_keys import Source
from keyman.vendors.google_outcomes import NOTHING_TO_DO, Told
from keyman.vendors.google_sources import Settings, source_of
from keyman.vendors.google_transport import Wire
from keyman.vendors.network import Network

T = TypeVar("T")
DEADLINE_SECONDS = 15.0  # for a whole token: a read timeout counts anew with every packet


class Tokens:
    """Tokens of one source, with these scopes."""

    def __init__(
        self,
        source: Settings,
        scopes: tuple[str, ...],
        endpoints: Endpoints,
        *,
        network: Network,
        clock: Clock,
        deadline: float = DEADLINE_SECONDS,
    ) -> None:
        self._scopes, self._deadline = scopes, deadline
        self._source: Source = source_of(source, endpoints, Wire(network, clock))

    def fetch(self) -> Told:
        """A token. Raises Rejected or RetryLater."""
        patience = _outcome(lambda: self._source.patience)
        if isinstance(patience, errors.Error):
            raise patience
        told = within(
            self._deadline + patience,
            lambda: _outcome(lambda: self._source.fetch(self._scopes)),
        )
        if told is None:
            raise errors.RetryLater("asking for a token took too long", hint=NOTHING_TO_DO)
        if isinstance(told, errors.Error):
            raise told
        return told

    @property
    def principal(self) -> str | None:
        """The service account that tokens are for; None if that is unknown or can't be read."""
        found = _outcome(lambda: self._source.principal)
        return None if isinstance(found, errors.Error) else found

    @property
    def quota_project(self) -> str | None:
        """Who pays, as the source says; None if it doesn't or can't be read."""
        found = _outcome(lambda: self._source.quota_project)
        return None if isinstance(found, errors.Error) else found


def _outcome(act: Callable[[], T]) -> T | errors.Error:
    """What `act` returns, or an error of ours that holds nothing foreign."""
    try:
        return act()
    except errors.Error as error:
        return _bare(error)
    except (ArithmeticError, LookupError, TypeError, ValueError) as error:
        return errors.Rejected(
            f"google-auth can't use these credentials: {type(error).__name__}",
            hint="is the credentials file as Google made it? have a new one made",
        )
    except Exception as error:  # noqa: BLE001 (whatever google-auth raises, no token came)
        what = f"google-auth failed in a way of its own: {type(error).__name__}"
        return errors.RetryLater(what, hint=NOTHING_TO_DO)


def _bare(error: errors.Error) -> errors.Error:
    """Without what led to it: those frames and errors hold requests and answers."""
    error.__cause__ = error.__context__ = None
    return error.with_traceback(None)
