"""A provider of each kind behind a proxy, as keyman's own code sees it.

Each world is a sandbox over HTTP, a proxy before it, and the words that a life needs: how requests
are called, what is alive, and how to open the real provider. The sandbox answers what documents
leave open as the seed says, all but how long things take.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import urlsplit

from keyman.core.model import Secret, Spec
from keyman.sandbox import control_plane, inference, openai_admin, openai_inference
from keyman.sandbox.oci_genai import TENANCY, USER, OciGenaiSandbox
from keyman.sandbox.openai import OpenAISandbox
from keyman.sandbox.openai_behaviour import OpenAIBehaviour
from keyman.sandbox.server import Request
from tests.network.judge import MARK, digest
from tests.network.machine import Providers
from tests.network.proxy import Landed, Proxy
from tests.providers import oci_world, openai_world
from tests.providers.openai_world import Dial

SLOTS = oci_world.SLOTS
OCI_OPERATIONS = (
    "CreateApiKey",
    "ListApiKeys",
    "GetApiKey",
    "RenewApiKey",
    "SetApiKeyState",
    "UpdateApiKey",
    "ChatCompletions",
)
OPENAI_OPERATIONS = ("CreateApiKey", "ListApiKeys", "DeleteApiKey", "ListModels")


@dataclass(frozen=True)
class World:
    """One provider behind one proxy; `open` makes keyman's provider for a credential."""

    proxy: Proxy
    alive: Callable[[], set[str]]
    open: Callable[[Spec], Any]
    spec: dict[str, Any]  #: what a Spec of this kind says besides its name and policy
    issues: tuple[str, ...]  #: operations that issue a secret
    creates_once: bool = False  #: a repeated creation is known by its retry token


def _port(url: str) -> int:
    port = urlsplit(url).port
    assert port
    return port


def _through(url: str, proxy: Proxy) -> str:
    return url.replace(f":{_port(url)}", f":{proxy.port}")


@contextmanager
def oci(seed: int, dial: Dial, made: Providers, landed: Landed) -> Iterator[World]:
    behaviour = replace(oci_world.instant(seed), nodes_disagree=False, last_used_lag=0.0)
    cloud = OciGenaiSandbox(
        seed=seed, behaviour=behaviour, now=dial.now, secret_prefix=f"sk-{MARK}", key_limit=10_000
    )
    profile = oci_world.signing_profile()
    cloud.register_user(TENANCY, USER, profile.public_key)

    def name(method: str, path: str) -> str:
        asked = Request(method, path, {}, b"")
        found = control_plane.route(asked)
        return found[0] if found else inference.route(asked) or ""

    def alive() -> set[str]:
        keys = [key for key in cloud.truth()["keys"] if not key["deleted"]]
        return {s["sha256"] for key in keys for s in key["slots"] if s["state"] == "ACTIVE"}

    with cloud.serve() as url:
        proxy = Proxy(_port(url), name, random.Random(seed), landed)
        options = oci_world.Options(
            oci_world.Auth(file=profile.config),
            _through(url, proxy),
            _through(cloud.base_url, proxy),
        )

        def opened(spec: Spec) -> Any:
            return made.oci(spec, options, network=oci_world.Network(), clock=dial)

        yield World(
            proxy,
            alive,
            opened,
            {"provider": "oci-genai", "slots": SLOTS},
            ("CreateApiKey", "RenewApiKey"),
            behaviour.retry_token != "ignored",
        )
        proxy.close()


@contextmanager
def openai(seed: int, dial: Dial, made: Providers, landed: Landed) -> Iterator[World]:
    instant = replace(
        OpenAIBehaviour.from_seed(seed, pace=0.0), nodes_disagree=False, last_used_lag=0.0
    )
    there = OpenAISandbox(seed=seed, behaviour=instant, now=dial.now, mark=MARK)

    def name(method: str, path: str) -> str:
        asked = Request(method, path, {}, b"")
        found = openai_admin.route(asked)
        return found[0] if found else openai_inference.route(asked) or ""

    admin = digest(Secret(there.admin_key))

    def alive() -> set[str]:
        return {key["sha256"] for key in there.truth()["keys"] if not key["deleted"]} - {admin}

    with there.serve() as url:
        proxy = Proxy(_port(url), name, random.Random(seed), landed)
        account = there.dashboard.create_account("apps")["id"]
        options = openai_world.Options(
            Secret(there.admin_key), there.project, account, _through(there.base_url, proxy)
        )

        def opened(spec: Spec) -> Any:
            network = openai_world.Network()
            return made.openai(spec, options, network=network, clock=dial, secret_of=_nobody)

        yield World(
            proxy, alive, opened, {"provider": "openai", "claims": False}, ("CreateApiKey",)
        )
        proxy.close()


def _nobody(name: str) -> Secret:
    raise AssertionError(f"nobody signs in with the secret of {name} here")


KINDS: dict[str, tuple[Callable[..., Any], tuple[str, ...]]] = {
    "oci": (oci, OCI_OPERATIONS),
    "openai": (openai, OPENAI_OPERATIONS),
}
