"""Who issues secrets: one file per issuer, imported only when a credential asks for it.

(External Secrets calls the places that keep secrets "providers"; here those are stores.)
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any, cast

from keyman.clock import Clock
from keyman.core.model import Spec
from keyman.errors import ConfigError
from keyman.providers.protocol import Provider

KINDS = {
    "oci-genai": "keyman.providers.oci_genai:OciGenai",
}


def open_provider(kind: str, spec: Spec, options: Any, *, network: Any, clock: Clock) -> Provider:
    """The provider of that kind for one credential. Opening it asks nobody anything.

    `options` is what the configuration says of the credential, `network` its `network:` part.
    Raises errors.ConfigError for a kind that does not exist.
    """
    if kind not in KINDS:
        known = ", ".join(sorted(KINDS))
        raise ConfigError(f"there is no provider {kind!r}", hint=f"known: {known}")
    module, _, name = KINDS[kind].partition(":")
    make = cast("Callable[..., Provider]", getattr(import_module(module), name))
    return make(spec, options, network=network, clock=clock)
