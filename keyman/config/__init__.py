"""The configuration: YAML and environment to frozen `Settings`, all mistakes at once.

values         what single values look like
tree           values that remember where they stood; what a mistake looks like
yaml_source    YAML to that tree
environment    !env, !file and KEYMAN__… variables
schema         the shape of the file: keys, types, defaults
kinds          what credentials of each provider add to that, and what it amounts to
stores         what stores of each kind add to it
signing_in     what both need to enter Oracle's cloud
assembly       from checked sections to settings; sections weighed against each other
wording        what is wrong with a shape, in our words
loading        all of the above in order
settings       what the rest of keyman sees
store_settings the same, of stores
notify_settings and of those who are told
places         where configuration and state lie, and whose they must be
"""

from keyman.config.loading import load
from keyman.config.notify_settings import NotifyTarget, Told
from keyman.config.places import find_config, find_home, prepare_home
from keyman.config.settings import (
    AgentSettings,
    CredentialSettings,
    EnvNames,
    GoogleEndpoints,
    GoogleOptions,
    GoogleSource,
    Listen,
    LogSettings,
    NetworkSettings,
    OciGenaiOptions,
    OciVerify,
    OpenaiOptions,
    OpenaiVerify,
    Options,
    Settings,
    StaticOptions,
    TlsFiles,
    spec_of,
)
from keyman.config.store_settings import DEFAULT, OciAuth, SealedFile, StoreKey, StoreSettings

__all__ = [
    "DEFAULT",
    "AgentSettings",
    "CredentialSettings",
    "EnvNames",
    "GoogleEndpoints",
    "GoogleOptions",
    "GoogleSource",
    "Listen",
    "LogSettings",
    "NetworkSettings",
    "NotifyTarget",
    "OciAuth",
    "OciGenaiOptions",
    "OciVerify",
    "OpenaiOptions",
    "OpenaiVerify",
    "Options",
    "SealedFile",
    "Settings",
    "StaticOptions",
    "StoreKey",
    "StoreSettings",
    "TlsFiles",
    "Told",
    "find_config",
    "find_home",
    "load",
    "prepare_home",
    "spec_of",
]
