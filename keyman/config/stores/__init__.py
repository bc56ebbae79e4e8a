"""What the stores of each kind look like in the file.

Each section holds the keys, says which place and which contradictions they amount to, and knows
nothing of the others.
"""

from __future__ import annotations

from keyman.config.schema import StoreSection
from keyman.config.stores.aws import AwsSection
from keyman.config.stores.local import LocalSection
from keyman.config.stores.oci_vault import OciVaultSection
from keyman.config.stores.vault import VaultSection

USUAL = "sealed-file"
STORES: dict[str, type[StoreSection]] = {
    "sealed-file": LocalSection,
    "keyring": LocalSection,
    "memory": LocalSection,
    "vault": VaultSection,
    "oci-vault": OciVaultSection,
    "aws-secrets-manager": AwsSection,
}
