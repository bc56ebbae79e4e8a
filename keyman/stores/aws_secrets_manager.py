"""Secrets in AWS Secrets Manager: one secret a credential, in it one version a number.

    keyman/genai    keyman-7, AWSCURRENT     what everybody gets who asks AWS for keyman/genai
                    keyman-8, AWSPENDING     put, and not promoted yet
                    keyman-nothing           a placeholder: current when nothing else is

Versions never change. Labels move, and only given where they were. A version's id is a keyed digest
of secret, number and value, and goes with the call as its token: a put that is repeated makes no
second version, and a version that somebody else labelled is told from ours. Nobody can delete a
version: dropped is what has no label, and AWS clears that away in its own time.

Tags say whose a secret is, and which credential's: with prefixes that begin alike, two stores can
mean the same one. What is not of this credential is neither read nor changed.

Asks nothing before it is first used.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import json
import re
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from keyman.core.model import Secret
from keyman.errors import SecretDamaged, StoreFailed
from keyman.stores.limits import fitting
from keyman.vendors.aws import Absent, Account, Exists, SecretsManager

CURRENT, PENDING, PREVIOUS = "AWSCURRENT", "AWSPENDING", "AWSPREVIOUS"
NOTHING = "keyman-nothing"
PLACEHOLDER = "(keyman: no version is current)"
EMPTY = "\n"  # AWS takes no empty value, and no secret of ours holds a line end
LABELS_AT_MOST = 20  # over all versions of one secret
OWNER, NAME = "keyman", "keyman-name"  # tags
PAUSES = (0.2, 0.4, 0.8, 1.6)  # seconds: what was just written may be absent for a moment

_NAME = re.compile(r"_?[a-z0-9][a-z0-9_-]{0,62}")  # `keyman store check` tries _…
_NUMBERED = re.compile(r"keyman-(0|[1-9][0-9]*)")


@dataclass(frozen=True, slots=True)
class _Held:
    """What AWS knows of one secret, beside the values."""

    ours: bool | None  #: None: there is none yet
    versions: dict[str, list[str]]  #: id → labels
    tags: dict[str, str] = field(default_factory=dict)

    def having(self, label: str) -> list[str]:
        return [version for version, labels in self.versions.items() if label in labels]

    def numbers(self, *labels: str) -> list[int]:
        """Of the versions with all these labels."""
        having = (each for each in self.versions.values() if {*labels} <= {*each})
        found = map(_NUMBERED.fullmatch, set().union(*having))
        return [int(one[1]) for one in found if one]


class AwsSecretsManager:
    durable = True

    def __init__(
        self,
        account: Account,
        prefix: str,
        installation: str,
        *,
        kms_key_id: str | None = None,
        read_only: bool = False,
    ) -> None:
        """`prefix` is what the names of all secrets begin with; `kms_key_id` counts when one is
        made. Asks nobody anything.
        """
        self._aws = SecretsManager(account, f"{prefix}*")
        self._prefix, self._installation = prefix, installation
        self._kms_key_id, self._read_only = kms_key_id, read_only
        self._not_others: set[str] = set()  # no tag gives these to another credential
        # Not the installation: that is the key of the digests that everybody sees at AWS.
        self._owner = hashlib.sha256(f"keyman owner {installation}".encode()).hexdigest()[:32]

    def ready(self, name: str) -> None:
        """Looks at the secret, and puts its placeholder once more: AWS permits or refuses that as
        it would any version, and as it has this one, leaves it at that.
        """
        held = self._changeable(name)
        self._refuse_if_full(name, held, "keyman-N")
        if self._placeholder(name) in held.versions:
            self._put_version(name, None, PLACEHOLDER, NOTHING)

    def put(self, name: str, number: int, secret: Secret, *, slot: str | None = None) -> None:
        value, label = fitting(name, secret) or EMPTY, f"keyman-{number}"
        held = self._changeable(name)
        self._refuse_if_full(name, held, label)
        if held.ours is None:
            self._create(name)
        elif not held.having(CURRENT):  # AWS would make current what comes first
            self._put_version(name, None, PLACEHOLDER, CURRENT)
        for pause in (*PAUSES, 0):
            with contextlib.suppress(Absent):
                if self._kept(name, held, number, value):
                    return
            time.sleep(pause)
            held = self._known(name)
        raise StoreFailed(f"AWS did not give back what was put under {name}/{number}")

    def get(self, name: str, number: int) -> Secret | None:
        version, value = self._read(name, f"keyman-{number}")
        if version and version == self._version(name, number, value):
            if self._is_others(name):
                return None
            return Secret("" if value == EMPTY else value)
        if version and self._known(name).ours:
            raise SecretDamaged(f"keyman-{number} of {self._id(name)} is not what keyman put there")
        return None

    def drop(self, name: str, number: int) -> None:
        self._refuse_if_read_only()
        held, label = self._known(name), f"keyman-{number}"
        dropped = {*held.having(label)}
        if dropped & {*held.having(CURRENT)}:  # forgotten is what nobody gets by asking, either
            self.point(name, None)
            held = self._known(name)
        for more in (PENDING, PREVIOUS):
            if dropped & {*held.having(more)}:
                self._label(name, held, more, None)
        self._label(name, held, label, None)  # last: what was cut short before is done again

    def list(self, name: str | None = None) -> list[tuple[str, int]]:
        names = self._names() if name is None else [name] if _NAME.fullmatch(name) else []
        return sorted((each, number) for each in names for number in self._known(each).numbers())

    def point(self, name: str, number: int | None) -> None:
        held, version = self._changeable(name), self._placeholder(name)
        if number is not None:
            version = next(iter(held.having(f"keyman-{number}")), "")
            if not version:
                raise StoreFailed(f"{name}/{number} is not stored at AWS: it can't become current")
        if held.versions:  # both look first whether it is so
            self._keep_placeholder(name, held)
            self._label(name, held, CURRENT, version)
        if version in held.having(PENDING):
            self._label(name, held, PENDING, None)

    def pointed(self, name: str) -> int | None:
        held = self._known(name)
        numbers = held.numbers(CURRENT)
        return numbers[0] if len(numbers) == len(held.having(CURRENT)) == 1 else None

    def read_current(self, name: str) -> tuple[int, Secret] | None:
        number = self.pointed(name)
        if number is None:
            return None
        value = self._read(name, CURRENT)[1]
        return number, Secret("" if value == EMPTY else value)

    def place(self, name: str, number: int) -> str | None:
        try:
            arn = self._ask("describe_secret", name).get("ARN")
        except Absent:
            return None
        return str(arn) if arn else None

    def close(self) -> None:
        self._aws.close()

    def _kept(self, name: str, held: _Held, number: int, value: str) -> bool:
        """Put, and read back: False if AWS gives something else, or nothing, as yet.

        The number's label comes after the version, since only then does AWS compare where it was:
        a put that AWS carries out late may take AWSPENDING along, and nothing else.
        """
        version, label = self._version(name, number, value), f"keyman-{number}"
        try:
            self._put_version(name, number, value, PENDING)
        except Absent:
            raise
        except StoreFailed:
            if version not in self._known(name).versions:
                raise  # else it was done, only the answer is lost
        self._label(name, held, label, version)
        return self._read(name, label) == (version, value)

    def _label(self, name: str, held: _Held, label: str, to: str | None) -> None:
        """Have the label on that version and on no other, given where it was; on none with None.

        AWS refuses if it is elsewhere by now, so that nobody else's move is undone.
        """
        before = held.having(label)
        place = {"MoveToVersionId": to} if to and to not in before else {}
        moves = [{"RemoveFromVersionId": each} for each in before if each != to]
        for move in moves or ([{}] if place else []):
            try:
                self._ask("update_secret_version_stage", name, VersionStage=label, **move, **place)
            except StoreFailed:
                if self._known(name).having(label) != ([to] if to else []):
                    raise  # else it was done, only the answer is lost
            place = {}

    def _create(self, name: str) -> None:
        more = {"KmsKeyId": self._kms_key_id} if self._kms_key_id else {}
        try:
            self._aws.ask(
                "create_secret",
                self._id(name),
                Name=self._id(name),
                Description="Kept by keyman. Applications read AWSCURRENT.",
                ClientRequestToken=self._placeholder(name),
                SecretString=PLACEHOLDER,
                Tags=[{"Key": OWNER, "Value": self._owner}, {"Key": NAME, "Value": name}],
                **more,
            )
            self._not_others.add(name)
        except Exists:
            self._changeable(name)  # somebody was faster: was it for this credential?

    def _keep_placeholder(self, name: str, held: _Held) -> None:
        """By a label of its own: without any, AWS clears it away."""
        if self._placeholder(name) in held.versions:
            self._label(name, held, NOTHING, self._placeholder(name))
        else:
            self._put_version(name, None, PLACEHOLDER, NOTHING)

    def _put_version(self, name: str, number: int | None, value: str, label: str) -> None:
        self._ask(
            "put_secret_value",
            name,
            ClientRequestToken=self._version(name, number, value),
            SecretString=value,
            VersionStages=[label],
        )

    def _read(self, name: str, label: str) -> tuple[str, str]:
        """Id and value of the version with that label; empty if there is none."""
        try:
            found = self._ask("get_secret_value", name, VersionStage=label)
        except Absent:
            return "", ""
        return found["VersionId"], found.get("SecretString", "")

    def _held(self, name: str) -> _Held:
        try:
            found = self._ask("describe_secret", name)
        except Absent:
            return _Held(ours=None, versions={})
        if found.get("DeletedDate"):
            what = f"{self._id(name)} is about to be deleted at AWS"
            raise StoreFailed(what, hint=self._aws.how_to_restore(self._id(name)))
        tags = _tags(found)
        if tags.get(OWNER) == self._owner and NAME not in tags:
            what = f"{self._id(name)} at AWS does not say which credential it is of"
            raise StoreFailed(what, hint=self._aws.how_to_tag(self._id(name), NAME, name))
        ours = tags.get(OWNER) == self._owner and tags[NAME] == name
        if ours:
            self._not_others.add(name)
        return _Held(ours, found.get("VersionIdsToStages") or {}, tags)

    def _known(self, name: str) -> _Held:
        """As if there were nothing if it is not this credential's, of this installation."""
        held = self._held(name)
        return held if held.ours else _Held(held.ours, {})

    def _changeable(self, name: str) -> _Held:
        self._refuse_if_read_only()
        held = self._held(name)
        if held.ours is False:
            raise self._stranger(name, held.tags)
        return held

    def _stranger(self, name: str, tags: dict[str, str]) -> StoreFailed:
        if tags.get(OWNER) == self._owner:
            return StoreFailed(
                f"{self._id(name)} at AWS is another credential's: {tags[NAME]!a}",
                hint="its store's `prefix` begins like this one's: change one of them",
            )
        return StoreFailed(
            f"{self._id(name)} at AWS is not of this installation",
            hint="give each its own prefix; what is this one's is tagged"
            f" {OWNER}={self._owner} and {NAME}={name}",
        )

    def _is_others(self, name: str) -> bool:
        """By a value alone it can't be told, if two stores' prefixes begin alike."""
        if name not in self._not_others:
            if _tags(self._ask("describe_secret", name)).get(NAME, name) != name:
                return True
            self._not_others.add(name)
        return False

    def _names(self) -> Iterator[str]:
        """Of all our secrets. AWS may take five minutes to show a new one here."""
        named = [{"Key": "name", "Values": [self._prefix]}]
        for page in self._aws.pages("list_secrets", f"{self._prefix}*", Filters=named):
            for found in page["SecretList"]:
                name = found["Name"].removeprefix(self._prefix)
                tags = _tags(found)
                ours = tags.get(OWNER) == self._owner and tags.get(NAME, name) == name
                if ours and _NAME.fullmatch(name):
                    yield name

    def _ask(self, operation: str, name: str, **said: Any) -> dict[str, Any]:
        return self._aws.ask(operation, self._id(name), SecretId=self._id(name), **said)

    def _id(self, name: str) -> str:
        if not _NAME.fullmatch(name):
            raise StoreFailed(f"{name!r} is not the name of a credential")
        return self._prefix + name

    def _placeholder(self, name: str) -> str:
        return self._version(name, None, PLACEHOLDER)

    def _version(self, name: str, number: int | None, value: str) -> str:
        """The id of the version that holds this. Must stay as it is: ids at AWS are compared."""
        # A placeholder's says whose it is: AWS takes a creation with a known id for a repetition.
        said = json.dumps([self._id(name), name if number is None else number, value]).encode()
        digest = hmac.new(f"keyman {self._installation}".encode(), said, hashlib.sha256).digest()
        return str(uuid.UUID(bytes=digest[:16], version=5))

    def _refuse_if_full(self, name: str, held: _Held, label: str) -> None:
        labels = {CURRENT, PENDING, PREVIOUS, NOTHING, label}.union(*held.versions.values())
        if len(labels) > LABELS_AT_MOST:
            hint = f"`keyman status {name}` shows which versions are kept, and why"
            raise StoreFailed(f"{self._id(name)} has all {LABELS_AT_MOST} labels", hint=hint)

    def _refuse_if_read_only(self) -> None:
        if self._read_only:
            raise StoreFailed("the store at AWS was opened for reading only")


def _tags(found: dict[str, Any]) -> dict[str, str]:
    return {each["Key"]: each["Value"] for each in found.get("Tags") or ()}
