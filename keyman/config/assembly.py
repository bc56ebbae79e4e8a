"""From checked sections to settings: defaults filled in, paths made absolute, sections weighed
against each other. What concerns one credential alone lies with its kind, in `kinds/`.

What is wrong is listed beside what was built, as (path of keys, text); then the caller throws
away what was built. Reads no file, but follows links to see whether two paths are one.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from difflib import get_close_matches
from hashlib import sha256
from itertools import chain, count
from pathlib import Path
from types import MappingProxyType
from urllib.parse import urlsplit

from keyman.config import places, values
from keyman.config.notify_settings import NotifyTarget
from keyman.config.places import Anchor
from keyman.config.schema import AgentSection, CredentialSection, FileShape, NotifySection
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
from keyman.config.store_settings import (
    AwsSecretsManager,
    HashicorpVault,
    Keyring,
    Memory,
    OciVault,
    SealedFile,
    StorePlace,
    StoreSettings,
)
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
    targets, unclear = notified(shape.notify)
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
        notify=targets,
        credentials=MappingProxyType(dict(credentials)),
    )
    return built, said + more + unclear


def notified(sections: Sequence[NotifySection]) -> tuple[tuple[NotifyTarget, ...], Said]:
    """Who is told. One without a name is called by its kind of address and a digest of where that
    leads; several alike are numbered. What one was told is remembered under its name, so that does
    not depend on the order of the list.
    """
    given = [one.name for one in sections if one.name]
    twice = {name for name in given if given.count(name) > 1}
    said: Said = [(("notify",), f"two are called {name}") for name in sorted(twice)]
    taken, names = set(given), {}
    for place in sorted(range(len(sections)), key=lambda place: _in_order(sections[place])):
        one = sections[place]
        names[place] = one.name or _free_name(one.url.reveal(), taken)
        taken.add(names[place])
    targets = [
        NotifyTarget(names[place], one.url, one.events, one.credentials)
        for place, one in enumerate(sections)
    ]
    return tuple(targets), said


def _in_order(one: NotifySection) -> tuple[str, Sequence[str], Sequence[str]]:
    return one.url.reveal(), one.events, one.credentials


def _free_name(url: str, taken: Collection[str]) -> str:
    kind, _, rest = url.partition("://")
    name = re.sub(r"[^a-z0-9]", "-", kind.lower())
    if host := _host(rest):
        name += f"-{sha256(f'keyman notify {name} {host}'.encode()).hexdigest()[:6]}"
    numbered = (f"{name}-{number}" for number in count(2))
    return next(one for one in chain([name], numbered) if one not in taken)


def _host(rest: str) -> str:
    """Host and port of an address; nothing, where something else may stand in their place.

    Names are seen by many, and whoever knows all of a digest's text but a password can try
    passwords until one fits: nothing that could be secret may go into it. Some kinds of address
    have a key or a topic where others have a host.
    """
    before, _, after = rest.partition("?")[0].rpartition("@")
    host = after.partition("/")[0].lower()
    return host if "/" not in before and _HOST.fullmatch(host) else ""


_HOST = re.compile(
    r"(localhost|\[[0-9a-f:.]+\]|[a-z0-9-]+(\.[a-z0-9-]+)+)(:\d{1,5})?|[a-z0-9-]+:\d{1,5}"
)


def told_of(targets: Iterable[NotifyTarget], names: Collection[str]) -> Said:
    """Credentials that somebody is to be told of and that are not in the file."""
    said: Said = []
    for target in targets:
        for unknown in sorted(set(target.credentials) - set(names)):
            near = get_close_matches(unknown, list(names), n=1)
            text = f"{target.name}: no credential is called {unknown}"
            said.append((("notify",), text + (f" (did you mean {near[0]}?)" if near else "")))
    return said


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


def one_place(stores: Mapping[str, StoreSettings]) -> Said:
    """Stores that are one under two names: what is dropped from the one is gone from the other."""
    said: Said = []
    known: dict[tuple[object, ...], str] = {}
    for one in stores.values():
        whereabouts = _whereabouts(one.place)
        if whereabouts is None:
            continue
        if (other := known.setdefault(whereabouts, one.name)) != one.name:
            text = f"is the very place that {other} is: one store can't have two names"
            said.append((("stores", one.name), text))
    return said


def _whereabouts(place: StorePlace) -> tuple[object, ...] | None:
    """The same for what is surely one place; None for what is never another's."""
    match place:
        case SealedFile():
            return "file", place.path.resolve()
        case Keyring():
            return "keyring", place.backend, place.service
        case HashicorpVault():
            at = urlsplit(place.address)
            port = at.port or (443 if at.scheme == "https" else 80)
            inside = (place.namespace or "", place.mount, place.prefix)
            return "vault", at.hostname, port, *(part.strip("/") for part in inside)
        case OciVault():
            return "oci-vault", place.vault_id, place.prefix
        case AwsSecretsManager():
            account = place.profile, place.region, place.endpoint
            return "aws", *account, place.prefix
        case Memory():
            return None


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
