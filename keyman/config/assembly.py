"""From checked sections to settings: defaults filled in, paths made absolute, keys weighed
against each other.

What is wrong is listed beside what was built, as (path of keys, text); then the caller throws
away what was built. Reads no file.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType

from keyman.config import places
from keyman.config.schema import (
    AgentSection,
    FileShape,
    OciGenaiSection,
    PolicySection,
    StoreSection,
    VerifySection,
)
from keyman.config.settings import (
    AgentSettings,
    CredentialSettings,
    EnvNames,
    LogSettings,
    NetworkSettings,
    OciAuth,
    OciGenaiOptions,
    OciVerify,
    Settings,
    StoreKey,
    StoreSettings,
)
from keyman.core.policy import Policy, Retry, Verification

SOCKET_LIMIT = 100  # bytes; the kernel's own limit is 104 or 108
_SQLITE = "sqlite:///"
_INFERENCE = "https://inference.generativeai.{region}.oci.oraclecloud.com/20231130/actions/v1"

Said = list[tuple[tuple[str, ...], str]]


@dataclass(frozen=True, slots=True)
class Anchor:
    """What paths are relative to."""

    home: Path  #: {home}
    folder: Path  #: relative ones
    user: str | None  #: ~

    def path(self, written: str) -> Path:
        """The absolute path that was meant."""
        if written == "~" or written.startswith("~/"):
            written = (self.user or str(Path.home())) + written[1:]
        absolute = self.folder / written.replace("{home}", str(self.home))
        return Path(os.path.abspath(absolute))  # noqa: PTH100  (resolve follows links)


def settings(
    shape: FileShape,
    credentials: Mapping[str, CredentialSettings],
    anchor: Anchor,
    source: Path | None,
) -> tuple[Settings, Said]:
    database, said = _database(shape.database, anchor)
    store, more = _store(shape.store, anchor)
    agent, still_more = _agent(shape.agent, anchor)
    bundle = shape.network.ca_bundle
    built = Settings(
        home=anchor.home,
        source=source,
        database=database,
        store=store,
        agent=agent,
        network=NetworkSettings(shape.network.proxy, anchor.path(bundle) if bundle else None),
        log=LogSettings(shape.log.level, shape.log.format),
        defaults=default_policy(shape),
        credentials=MappingProxyType(dict(credentials)),
    )
    return built, said + more + still_more


def _database(written: str, anchor: Anchor) -> tuple[str, Said]:
    def wrong(text: str) -> tuple[str, Said]:
        return written, [(("database",), text)]

    if written.startswith("postgresql"):
        return wrong("not in this version")
    rest = written.removeprefix(_SQLITE)
    if rest in (written, "") or rest.startswith(":"):
        return wrong("must be sqlite:/// and the path of a file")
    path = str(anchor.path(rest))
    # SQLAlchemy would take the rest for options of the connection.
    return wrong("the path must not contain ?") if "?" in path else (_SQLITE + path, [])


def _store(section: StoreSection, anchor: Anchor) -> tuple[StoreSettings, Said]:
    key = section.key
    said: Said = []
    if key.kind == "passphrase" and key.passphrase is None:
        said = [(("store", "key"), "passphrase is required (best as !file or !env)")]
    store_key = StoreKey(
        key.kind,
        anchor.path(key.path),
        passphrase=key.passphrase,
        name=key.name,
        variable=key.variable,
        backend=key.backend,
        service=key.service,
    )
    path = anchor.path(section.path)
    return StoreSettings(section.kind, path, store_key, section.backend, section.service), said


def _agent(section: AgentSection, anchor: Anchor) -> tuple[AgentSettings, Said]:
    socket, said = anchor.path(section.socket), Said()
    length = len(os.fsencode(socket))
    if length > SOCKET_LIMIT:
        text = f"is {length} bytes long; a socket's path may have {SOCKET_LIMIT} (a shorter home?)"
        said.append((("agent", "socket"), text))
    strangers = set(section.allow_uids) - {0, places.own_uid()}
    if strangers and places.below(socket, anchor.home):
        text = "others can't reach a socket in the home: move agent.socket, e.g. to /run/keyman"
        said.append((("agent", "allow_uids"), text))
    return AgentSettings(socket, section.allow_uids), said


def default_policy(shape: FileShape) -> Policy:
    """The policy of a credential that says nothing of its own."""
    defaults = shape.defaults
    usual = Policy(
        max_client_staleness=defaults.max_client_staleness,
        observe_every=defaults.observe_every,
        retry=Retry(defaults.retry.first, defaults.retry.factor, defaults.retry.max),
    )
    return _over(usual, defaults.policy)


def policy_of(section: OciGenaiSection, usual: Policy) -> Policy:
    """The credential's own policy over the usual one."""
    verify = section.verify
    proof = Verification(verify.successes, verify.every, verify.within)
    return replace(_over(usual, section.policy), verify=proof)


def _over(usual: Policy, section: PolicySection) -> Policy:
    return replace(usual, **{key: getattr(section, key) for key in section.model_fields_set})


def credential(
    name: str, section: OciGenaiSection, policy: Policy, anchor: Anchor
) -> CredentialSettings:
    options = OciGenaiOptions(
        region=section.region,
        compartment_id=section.compartment_id,
        api_key_id=section.api_key_id,
        slots=section.slots,
        auth=_auth(section, anchor),
        endpoint=section.endpoint,
        base_url=section.base_url or _INFERENCE.format(region=section.region),
        verify=_verify(section.verify),
        late_after=section.late_after,
    )
    env = EnvNames(section.env.key, section.env.base_url)
    return CredentialSettings(name, section.provider, policy, options, env)


def _auth(section: OciGenaiSection, anchor: Anchor) -> OciAuth:
    auth = section.auth
    token = anchor.path(auth.token) if auth.token else None
    return OciAuth(auth.kind, anchor.path(auth.file), auth.profile, token)


def _verify(section: VerifySection) -> OciVerify:
    return OciVerify(section.model, section.successes, section.every, section.within)


@dataclass(frozen=True, slots=True)
class Contradiction:
    """Keys of one credential that do not go together."""

    about: tuple[str, ...]
    text: str
    at: tuple[str, ...] = ()


def contradictions(section: OciGenaiSection) -> Iterator[Contradiction]:
    if section.region is None and not (section.endpoint and section.base_url):
        text = "region is required (unless endpoint and base_url are given)"
        yield Contradiction(("region", "endpoint", "base_url"), text)
    if section.api_key_id is None and section.compartment_id is None:
        text = "compartment_id is required (unless api_key_id is given)"
        yield Contradiction(("compartment_id", "api_key_id"), text)
    if section.verify.every * (section.verify.successes - 1) >= section.verify.within:
        text = "so many successes, so far apart, do not fit in `within`"
        yield Contradiction(("verify",), text, at=("verify",))
    if section.env.key == section.env.base_url:
        yield Contradiction(("env",), "key and base_url must be different variables", at=("env",))
