"""From checked sections to settings: defaults filled in, paths made absolute, sections weighed
against each other. What concerns one credential alone lies with its kind, in `kinds/`.

What is wrong is listed beside what was built, as (path of keys, text); then the caller throws
away what was built. Reads no file.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from difflib import get_close_matches
from pathlib import Path
from types import MappingProxyType

from keyman.config import places, values
from keyman.config.places import Anchor
from keyman.config.schema import AgentSection, CredentialSection, FileShape
from keyman.config.settings import (
    AgentSettings,
    CredentialSettings,
    EnvNames,
    Listen,
    LogSettings,
    NetworkSettings,
    OpenaiOptions,
    Options,
    Settings,
    StaticOptions,
    TlsFiles,
)
from keyman.config.store_settings import StoreSettings
from keyman.core.policy import Policy, Retry

SOCKET_LIMIT = 100  # bytes; the kernel's own limit is 104 or 108
_SQLITE = "sqlite:///"

Said = list[tuple[tuple[str, ...], str]]


def settings(
    shape: FileShape,
    stores: Mapping[str, StoreSettings],
    credentials: Mapping[str, CredentialSettings],
    anchor: Anchor,
    source: Path | None,
) -> tuple[Settings, Said]:
    database, said = _database(shape.database, anchor)
    agent, more = _agent(shape.agent, anchor)
    bundle = shape.network.ca_bundle
    built = Settings(
        home=anchor.home,
        source=source,
        database=database,
        stores=MappingProxyType(dict(stores)),
        agent=agent,
        network=NetworkSettings(shape.network.proxy, anchor.path(bundle) if bundle else None),
        log=LogSettings(shape.log.level, shape.log.format),
        defaults=default_policy(shape),
        credentials=MappingProxyType(dict(credentials)),
    )
    return built, said + more


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
    listen, more = _listen(section, anchor)
    return AgentSettings(socket, section.allow_uids, listen), said + more


def _listen(section: AgentSection, anchor: Anchor) -> tuple[Listen | None, Said]:
    said, tls = Said(), section.tls
    if (tls.cert is None) != (tls.key is None):
        said.append((("agent", "tls"), "cert and key go together"))
    if section.listen is None:
        return None, said
    host, port = section.listen
    files = TlsFiles(anchor.path(tls.cert), anchor.path(tls.key)) if tls.cert and tls.key else None
    if files is None and not said and not values.loopback(host):
        text = "others would read along: beyond this machine only with agent.tls (cert and key)"
        said.append((("agent", "listen"), text))
    return Listen(host, port, files, section.hosts), said


def strangers(credentials: Mapping[str, CredentialSettings], uids: Collection[int]) -> Said:
    """Users whom a credential lets in and the agent does not: it narrows, it lets nobody in."""
    known = {0, places.own_uid(), *uids}
    text = "names a user who is not in agent.allow_uids, and so may not ask at all"
    return [
        (("credentials", name, "allow_uids"), text)
        for name, one in credentials.items()
        if set(one.allow_uids or ()) - known
    ]


def default_policy(shape: FileShape) -> Policy:
    """The policy of a credential that says nothing of its own."""
    defaults = shape.defaults
    usual = Policy(
        max_client_staleness=defaults.max_client_staleness,
        observe_every=defaults.observe_every,
        retry=Retry(defaults.retry.first, defaults.retry.factor, defaults.retry.max),
    )
    return defaults.policy.over(usual)


def credential(
    name: str, section: CredentialSection, policy: Policy, anchor: Anchor
) -> CredentialSettings:
    env = EnvNames(section.env.key, section.env.base_url)
    options = section.options(anchor)
    return CredentialSettings(
        name,
        section.provider,
        policy,
        options,
        env,
        section.allow_uids,
        section.store,
        section.mirrors,
    )


def resting(credentials: Mapping[str, CredentialSettings], names: Collection[str]) -> Said:
    """What is wrong with where credentials rest. `names` are those of all stores."""
    said: Said = []
    for one in credentials.values():
        for key, stores in (("store", (one.store,)), ("mirrors", one.mirrors)):
            for unknown in sorted(set(stores) - set(names)):
                near = get_close_matches(unknown, list(names), n=1)
                text = "no store has this name" + (f" (did you mean {near[0]}?)" if near else "")
                said.append((("credentials", one.name, key), text))
        if one.store in one.mirrors:
            text = "names the store itself: a mirror is another place"
            said.append((("credentials", one.name, "mirrors"), text))
    return said


def references(credentials: Mapping[str, CredentialSettings], names: Collection[str]) -> Said:
    """What is wrong with credentials that need another one's secret.

    `names` are all that the file lists, also those in which something else is wrong.
    """
    needs = {one.name: other for one in credentials.values() if (other := _needed(one))}
    said: Said = []
    for name, other in needs.items():
        wrong = None
        if other not in names:
            near = get_close_matches(other, [known for known in names if known != name], n=1)
            wrong = "no credential has this name" + (f" (did you mean {near[0]}?)" if near else "")
        elif _leads_back(name, needs):
            wrong = "leads back to this credential: somebody has to bring the first key"
        elif other in credentials and not _own(credentials[other].options):
            wrong = "has no admin key: it must be static, or openai with key_type admin"
        if wrong:
            said.append((("credentials", name, "admin_key", "credential"), wrong))
    return said


def _needed(one: CredentialSettings) -> str | None:
    return one.options.admin_credential if isinstance(one.options, OpenaiOptions) else None


def _own(options: Options) -> bool:
    """May its secret be an admin key?"""
    if isinstance(options, OpenaiOptions):
        return options.key_type == "admin"
    return isinstance(options, StaticOptions)


def _leads_back(name: str, needs: Mapping[str, str]) -> bool:
    seen, other = set[str](), needs[name]
    while other not in seen:
        if other == name:
            return True
        seen.add(other)
        other = needs.get(other, other)
    return False
