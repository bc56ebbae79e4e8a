"""Who issues secrets: one file per issuer, imported only when a credential asks for it.

(External Secrets calls the places that keep secrets "providers"; here those are stores.)
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any, cast

from keyman.clock import Clock
from keyman.core.model import Secret, Spec
from keyman.errors import ConfigError, RetryLater
from keyman.providers.protocol import Provider

KINDS = {
    "oci-genai": "keyman.providers.oci_genai:OciGenai",
    "google": "keyman.providers.google:Google",
    "openai": "keyman.providers.openai:Openai",
    "static": "keyman.providers.static:Static",
}
NEED_OTHERS = ("openai",)
"""Kinds that sign in with the secret of another credential."""

SecretOf = Callable[[str], Secret]
"""The current secret of a credential, read now. Raises errors.Error if there is none."""


def no_secret(name: str) -> Secret:
    """A `SecretOf` for where no other credential can be read."""
    raise RetryLater(f"the secret of {name} can't be read here")


def open_provider(
    kind: str,
    spec: Spec,
    options: Any,
    *,
    network: Any,
    clock: Clock,
    secret_of: SecretOf = no_secret,
) -> Provider:
    """The provider of that kind for one credential. Opening it asks nobody anything.

    `options` is what the configuration says of the credential, `network` its `network:` part.
    `secret_of` is handed only to kinds that need it. Raises errors.ConfigError for a kind that
    does not exist.
    """
    if kind not in KINDS:
        known = ", ".join(sorted(KINDS))
        raise ConfigError(f"there is no provider {kind!r}", hint=f"known: {known}")
    module, _, name = KINDS[kind].partition(":")
    make = cast("Callable[..., Provider]", getattr(import_module(module), name))
    more = {"secret_of": secret_of} if kind in NEED_OTHERS else {}
    return make(spec, options, network=network, clock=clock, **more)
