"""The operations on the secrets of a vault, as Oracle's API reference has them.

Knows bodies, preconditions and the shape of answers; what a change does is in
`oci_vault_secrets.py`. Who calls, and whether he may, is settled before. The caller holds the
sandbox's lock.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable
from datetime import datetime

from keyman.sandbox import oci_vault_secrets as vaults
from keyman.sandbox.oci_vault_behaviour import VaultBehaviour
from keyman.sandbox.oci_vault_secrets import Secret, Version, incorrect, invalid, not_found
from keyman.sandbox.server import Json, RefusedError, Reply, Request, json_reply

COMPARTMENT = "ocid1.compartment.oc1..sandbox"
VAULT = "ocid1.vault.oc1.us-chicago-1.sandbox.vault"
KEY = "ocid1.key.oc1.us-chicago-1.sandbox.key"
_REQUIRED = ("compartmentId", "vaultId", "keyId", "secretName", "secretContent")


class Api:
    """Answers requests that are known to be allowed."""

    def __init__(
        self,
        now: Callable[[], datetime],
        rules: Callable[[], VaultBehaviour],
        new_id: Callable[[], str],
    ) -> None:
        self._now, self._rules, self._new_id = now, rules, new_id
        self.secrets: dict[str, Secret] = {}
        self.key_forbidden = False
        self.operations: dict[str, Callable[..., Reply]] = {
            "CreateSecret": self._create,
            "ListSecrets": self._list,
            "GetSecret": self._get,
            "UpdateSecret": self._update,
            "ListSecretVersions": self._list_versions,
            "ScheduleSecretDeletion": self._schedule,
            "CancelSecretDeletion": self._cancel,
            "ScheduleSecretVersionDeletion": self._schedule_version,
            "GetSecretBundle": self._bundle,
            "GetSecretBundleByName": self._bundle_by_name,
        }

    def _find(self, secret_id: str) -> Secret:
        secret = self.secrets.get(secret_id)
        if secret is None:
            raise not_found()
        vaults.settle(secret, self._now(), self._rules())
        if secret.state(self._now()) == "DELETED" and self._rules().deleted_secret == "404":
            raise not_found()
        return secret

    def _changeable(self, secret_id: str) -> Secret:
        secret = self._find(secret_id)
        state = secret.state(self._now())
        if state != "ACTIVE":
            raise incorrect(f"The secret has a conflicting state of {state}.")
        return secret

    def _create(self, request: Request) -> Reply:
        body = request.json()
        for name in _REQUIRED:
            if not body.get(name):
                raise RefusedError(400, "MissingParameter", f"{name} is missing.")
        name = str(body["secretName"])
        if not vaults.NAME.fullmatch(name):
            raise invalid("secretName has characters that are not allowed.")
        self._check_key(body["vaultId"], body["keyId"])
        if any(each.name == name for each in self.secrets.values()):
            raise invalid("name already exists", self._rules().taken_name)
        given = self._content(body["secretContent"])
        if given[2] == "PENDING" and self._rules().pending_at_creation == 400:
            raise invalid("The first version is current.")
        now = self._now()
        secret = Secret(
            self._new_id(),
            name,
            body["compartmentId"],
            body["keyId"],
            now,
            dict(body.get("freeformTags") or {}),
        )
        # The first version is current, whatever the caller says of it.
        vaults.check_version_name(secret, given[0], self._rules())
        vaults.add_version(secret, "CURRENT", given[0], given[1], now, self._rules())
        vaults.be_busy(secret, now, "CREATING", self._rules().creating)
        secret.stale = self._rules().stale_reads
        self.secrets[secret.id] = secret
        return self._shown(secret)

    def _check_key(self, vault: str, key: str) -> None:
        if (vault, key) != (VAULT, KEY):
            raise not_found()
        if self.key_forbidden:
            if self._rules().forbidden_key == 404:
                raise not_found()
            text = "The key was not found, or you may not use it."
            raise RefusedError(400, "RelatedResourceNotAuthorizedOrNotFound", text)

    def _content(self, given: Json) -> tuple[str | None, str, str]:
        if given.get("contentType") != "BASE64":
            raise invalid("contentType must be BASE64.")
        content, stage = given.get("content") or "", given.get("stage") or "CURRENT"
        try:
            size = len(base64.b64decode(content, validate=True))
        except binascii.Error as error:
            raise invalid("The content is not BASE64.") from error
        if size > vaults.MAX_BYTES:
            raise invalid(f"The content is larger than {vaults.MAX_BYTES} bytes.")
        if not size and self._rules().empty_content == 400:
            raise invalid("The content is empty.")
        if stage not in {"CURRENT", "PENDING"}:
            raise invalid("stage is CURRENT or PENDING.")
        return given.get("name"), content, stage

    def _update(self, request: Request, secret_id: str) -> Reply:
        secret, body, now = self._changeable(secret_id), request.json(), self._now()
        if (
            sum(name in body for name in ("secretContent", "currentVersionNumber", "secretRules"))
            > 1
        ):
            raise invalid("Contents, version number and rules can't be updated at the same time.")
        changed = self._apply(secret, body, now)
        if changed:
            vaults.be_busy(secret, now, "UPDATING", self._rules().updating)
        return self._shown(secret)

    def _apply(self, secret: Secret, body: Json, now: datetime) -> bool:
        rules = self._rules()
        if "secretContent" in body:
            self._check_key(VAULT, secret.key)
            name, content, stage = self._content(body["secretContent"])
            vaults.check_version_name(secret, name, rules)
            vaults.check_room(secret, now, rules)
            vaults.remember(secret, rules)
            vaults.add_version(secret, stage, name, content, now, rules)
        elif "currentVersionNumber" in body:
            number = int(body["currentVersionNumber"])
            if "CURRENT" in secret.version(number).stages:
                if rules.promote_current_again != 200:
                    raise invalid("It is current already.", rules.promote_current_again)
                return False
            vaults.remember(secret, rules)
            vaults.promote(secret, number)
        if isinstance(tags := body.get("freeformTags"), dict):
            if any(len(str(v)) > 256 for v in tags.values()) or len(tags) > 10:
                raise invalid("Tags are too many or too long.")
            vaults.remember(secret, rules)
            secret.tags = dict(tags)
        return True

    def _get(self, request: Request, secret_id: str) -> Reply:
        secret = self._find(secret_id)
        # Who knows the id finds it at once; only lists lag behind a creation.
        return self._shown((secret.before and vaults.seen(secret)) or secret)

    def _list(self, request: Request) -> Reply:
        query, now = request.query, self._now()
        if query.get("compartmentId") != COMPARTMENT:
            raise not_found()
        found = [vaults.seen(each) for each in self.secrets.values()]
        shown = [each for each in found if each and self._listed(each, query, now)]
        return self._page([self._summary(each) for each in shown], query)

    def _listed(self, secret: Secret, query: dict[str, str], now: datetime) -> bool:
        if secret.state(now) == "DELETED" and self._rules().deleted_secret == "404":
            return False
        wanted = query.get("name", secret.name), query.get("vaultId", VAULT)
        return (secret.name, VAULT) == wanted

    def _list_versions(self, request: Request, secret_id: str) -> Reply:
        secret = self._find(secret_id)
        shown = (secret.before and vaults.seen(secret)) or secret
        newest = sorted(shown.versions, key=lambda version: -version.number)
        return self._page([_version(version, secret_id) for version in newest], request.query)

    def _page(self, items: list[Json], query: dict[str, str]) -> Reply:
        start = int(query.get("page", "0"))
        rest = start + min(int(query.get("limit", "1000")), self._rules().page_size)
        onward = {"opc-next-page": str(rest)} if rest < len(items) else {}
        return json_reply(200, items[start:rest], onward)

    def _schedule(self, request: Request, secret_id: str) -> Reply:
        secret = self._changeable(secret_id)
        secret.goes = vaults.read_end(request.json().get("timeOfDeletion"), self._now())
        return Reply(self._rules().no_body_status)

    def _cancel(self, request: Request, secret_id: str) -> Reply:
        secret = self._find(secret_id)
        if secret.state(self._now()) != "PENDING_DELETION":
            raise incorrect("The secret is not scheduled for deletion.")
        secret.goes = None
        return Reply(self._rules().no_body_status)

    def _schedule_version(self, request: Request, secret_id: str, number: str) -> Reply:
        secret, now = self._changeable(secret_id), self._now()
        at = vaults.read_end(request.json().get("timeOfDeletion"), now)
        vaults.schedule_version(secret, int(number), at, now, self._rules())
        if self._rules().destroying_is_updating:
            vaults.be_busy(secret, now, "UPDATING", self._rules().updating)
        return Reply(self._rules().no_body_status)

    def _bundle(self, request: Request, secret_id: str) -> Reply:
        secret, query = self._find(secret_id), request.query
        if secret.state(self._now()) in {"PENDING_DELETION", "DELETED"}:
            raise not_found()
        version = _chosen(secret, query)
        if version.content_unseen > 0:
            version.content_unseen -= 1
            raise not_found()
        if version.goes is not None and self._rules().going_content != 200:
            raise RefusedError(self._rules().going_content, "IncorrectState", "It is going.")
        return json_reply(200, _bundle(version, secret_id))

    def _bundle_by_name(self, request: Request) -> Reply:
        name = request.query.get("secretName")
        for secret in self.secrets.values():
            if secret.name == name and request.query.get("vaultId") == VAULT:
                return self._bundle(request, secret.id)
        raise not_found()

    def _shown(self, secret: Secret) -> Reply:
        etag = {"etag": secret.etag} if self._rules().etag_on_get else {}
        current = next((v.number for v in secret.versions if "CURRENT" in v.stages), None)
        return json_reply(200, {**self._summary(secret), "currentVersionNumber": current}, etag)

    def _summary(self, secret: Secret) -> Json:
        shown = {
            "id": secret.id,
            "secretName": secret.name,
            "compartmentId": secret.compartment,
            "vaultId": VAULT,
            "keyId": secret.key,
            "lifecycleState": secret.state(self._now()),
            "freeformTags": secret.tags,
            "timeCreated": _time(secret.created),
        }
        return {**shown, "timeOfDeletion": _time(secret.goes)} if secret.goes else shown


def _chosen(secret: Secret, query: dict[str, str]) -> Version:
    if sum(name in query for name in ("versionNumber", "secretVersionName", "stage")) > 1:
        raise invalid("Only one of versionNumber, secretVersionName and stage can be given.")
    if "versionNumber" in query:
        return secret.version(int(query["versionNumber"]))
    for version in reversed(secret.versions):
        if "secretVersionName" in query and version.name == query["secretVersionName"]:
            return version
        if "secretVersionName" not in query and query.get("stage", "CURRENT") in version.stages:
            return version
    raise not_found()


def _version(version: Version, secret_id: str) -> Json:
    shown: Json = {
        "secretId": secret_id,
        "versionNumber": version.number,
        "name": version.name,
        "stages": sorted(version.stages),
        "contentType": "BASE64",
        "timeCreated": _time(version.created),
    }
    return {**shown, "timeOfDeletion": _time(version.goes)} if version.goes else shown


def _bundle(version: Version, secret_id: str) -> Json:
    shown: Json = {
        "secretId": secret_id,
        "versionNumber": version.number,
        "versionName": version.name,
        "stages": sorted(version.stages),
        "timeCreated": _time(version.created),
        "metadata": {},
        "secretBundleContent": {"contentType": "BASE64", "content": version.content},
    }
    return {**shown, "timeOfDeletion": _time(version.goes)} if version.goes else shown


def _time(at: datetime) -> str:
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")
