"""What the credentials of each provider look like in the file: one file a provider.

Each section holds the keys, says which policy, options and contradictions they amount to, and
knows nothing of the others.
"""

from __future__ import annotations

from keyman.config.kinds.google import GoogleSection
from keyman.config.kinds.oci_genai import OciGenaiSection
from keyman.config.kinds.openai import OpenaiSection
from keyman.config.kinds.static import StaticSection
from keyman.config.schema import CredentialSection

PROVIDERS: dict[str, type[CredentialSection]] = {
    "oci-genai": OciGenaiSection,
    "google": GoogleSection,
    "openai": OpenaiSection,
    "static": StaticSection,
}
