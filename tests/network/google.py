"""Google's tokens over a broken network: asked for once, refused in words, and had when it is well.

Tokens need no rotation to be judged: asking changes nothing at Google, so whatever goes wrong is
"ask again later", and the next call brings one that Vertex takes.
"""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from urllib.parse import urlsplit

from keyman import errors
from keyman.core.model import Secret, Spec
from tests.network.judge import HANGS, fit_to_travel
from tests.network.life import Lived
from tests.network.machine import Change, providers
from tests.network.proxy import Aim, Proxy
from tests.providers import google_world

OPERATIONS = ("token",)


def live(seed: int, aims: Sequence[Aim], *bug: Change) -> Lived:
    """A token is asked for under each fault, and once more after it."""
    lived = Lived()
    with google_world.world() as world:
        port = urlsplit(world.sandbox.url).port
        assert port
        proxy = Proxy(port, lambda *_: "token", random.Random(seed), lambda *_: None)
        there = f"http://127.0.0.1:{proxy.port}"
        endpoints = google_world.Endpoints(token=f"{there}/token", iam=there, sts=there)
        options = google_world.Options(
            world.source("service-account"), endpoints, world.sandbox.base_url
        )
        spec = Spec("vertex", "google", observes=False, claims=False, probes=False, revokes=False)
        provider = providers(*bug).google(
            spec, options, network=google_world.Network(), clock=world.clock
        )
        for aim in aims:
            proxy.aim(Aim(aim.operation, aim.fault, aim.position))
            said: list[str] = []
            first = _asked(world, provider, said)
            hit = proxy.hits[-1]
            if first is not None and not hit.whole:
                said.append("a token came of a broken answer")
            if first is not None and not world.accepts(first):
                said.append("Google does not take the token")
            proxy.settle()
            proxy.let_go(everything=True)
            second = _asked(world, provider, said)
            if second is None or not world.accepts(second):
                said.append("L: no token although the network is well")
            lived.hits.append(hit)
            lived.rotations += 1
            lived.broken += [(aim, what) for what in said]
        proxy.close()
    return lived


def _asked(world: google_world.World, provider: object, said: list[str]) -> Secret | None:
    began = time.monotonic()
    try:
        return provider.issue(world.wish(), None).secret  # type: ignore[attr-defined,no-any-return]
    except errors.Error as error:
        fit_to_travel(error, said.append)
        if not isinstance(error, errors.RetryLater):
            said.append(f"asking changes nothing, and yet: {type(error).__name__}: {error}")
        return None
    except Exception as error:  # noqa: BLE001 (that is what is looked for)
        said.append(f"{type(error).__name__} is no error of keyman's")
        return None
    finally:
        if time.monotonic() - began > HANGS:
            said.append("asking for a token hangs")
