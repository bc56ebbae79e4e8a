"""A store in an imitated AWS, with the wire between them in the test's hand, and a reader beside it
who knows AWS and not keyman.
"""

import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto.secretsmanager.models import secretsmanager_backends

from keyman.clock import new_id
from keyman.core.model import Secret
from keyman.errors import StoreFailed
from keyman.stores.aws_secrets_manager import AwsSecretsManager
from keyman.vendors.aws import Account
from tests.contract.aws_between import Between, between
from tests.contract.places.aws_secrets_manager import ACCOUNT, REGION, invented_credentials, moto

CANARY = "sk-canary-0123456789"
CURRENT, PENDING, PREVIOUS = "AWSCURRENT", "AWSPENDING", "AWSPREVIOUS"


@dataclass
class World:
    wire: Between
    aws: Any  #: boto3's client, of somebody who does not know keyman
    prefix: str = field(default_factory=lambda: f"keyman/{new_id()}/")
    installation: str = field(default_factory=new_id)
    opened: list[AwsSecretsManager] = field(default_factory=list)

    def store(
        self, *, installation: str | None = None, prefix: str = "", **more: Any
    ) -> AwsSecretsManager:
        """One whose calls are tried once, unless `attempts` says otherwise; `prefix` comes after
        the world's.
        """
        own = {name: more.pop(name) for name in ("kms_key_id", "read_only") if name in more}
        account = {"endpoint": self.wire.address, "attempts": 1, **more}
        whose = installation or self.installation
        made = AwsSecretsManager(Account(REGION, **account), self.prefix + prefix, whose, **own)
        self.opened.append(made)
        return made

    def plain(self) -> AwsSecretsManager:
        """A store that nothing stands in the way of, to look at what is there."""
        return self.store(endpoint=moto())

    def id(self, name: str = "genai") -> str:
        return self.prefix + name

    def moto(self, name: str = "genai") -> Any:
        """The imitation's own record of the secret."""
        return secretsmanager_backends[ACCOUNT][REGION].secrets[self.id(name)]

    def reads(self, label: str = CURRENT, name: str = "genai") -> str | None:
        """What AWS gives a stranger who asks for that label; None if nothing."""
        try:
            found = self.aws.get_secret_value(SecretId=self.id(name), VersionStage=label)
        except self.aws.exceptions.ResourceNotFoundException:
            return None
        value: str = found["SecretString"]
        return value

    def labels(self, name: str = "genai") -> dict[str, list[str]]:
        """By version, as AWS has them."""
        found = self.aws.describe_secret(SecretId=self.id(name))["VersionIdsToStages"]
        return {version: sorted(labels) for version, labels in found.items()}

    def version(self, label: str) -> str:
        (found,) = [version for version, labels in self.labels().items() if label in labels]
        return found

    def move(self, label: str, *, to: str) -> None:
        """By a stranger's hand."""
        self.aws.update_secret_version_stage(
            SecretId=self.id(),
            VersionStage=label,
            RemoveFromVersionId=self.version(label),
            MoveToVersionId=to,
        )


@contextmanager
def world(environment: pytest.MonkeyPatch, folder: Path) -> Iterator[World]:
    invented_credentials(environment, folder)
    aws = boto3.client("secretsmanager", region_name=REGION, endpoint_url=moto())
    with between(moto()) as wire:
        made = World(wire, aws)
        yield made
        for store in made.opened:
            store.close()
    aws.close()


def filled(world: World, *numbers: int, pointed: int | None = None) -> AwsSecretsManager:
    """A store with these versions, `value N` each, the wire in order and no call counted."""
    store = world.store()
    fill(store, "genai", *numbers, pointed=pointed)
    world.wire.heal()
    return store


def fill(store: AwsSecretsManager, name: str, *numbers: int, pointed: int | None) -> None:
    for number in numbers:
        store.put(name, number, Secret(f"value {number}"))
    if pointed is not None:
        store.point(name, pointed)


def failing(act: Callable[[], object]) -> StoreFailed:
    """What it fails with, which neither says nor carries what was sent or AWS's own words."""
    with pytest.raises(StoreFailed) as error:
        act()
    told = "".join(traceback.format_exception(error.value))
    assert CANARY not in told + error.value.hint
    assert error.value.__cause__ is None
    return error.value
