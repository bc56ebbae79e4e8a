"""How keyman signs in to Oracle's cloud, as a part of the file: for credentials and for stores."""

from __future__ import annotations

from typing import Annotated, Literal

from keyman.config import values
from keyman.config.places import Anchor
from keyman.config.schema import Section, Text, scalar
from keyman.config.store_settings import OciAuth


class OciAuthSection(Section):
    kind: Literal[
        "config-file",
        "session-token",
        "instance-principal",
        "resource-principal",
        "oke-workload",
    ] = "config-file"
    file: Text = "~/.oci/config"
    profile: Annotated[str, scalar(values.profile)] = "DEFAULT"
    token: Text | None = None

    def auth(self, anchor: Anchor) -> OciAuth:
        token = anchor.path(self.token) if self.token else None
        return OciAuth(self.kind, anchor.path(self.file), self.profile, token)
