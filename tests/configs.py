"""Configurations to write down and read back; what the tests of them share."""

from __future__ import annotations

from pathlib import Path

import pytest

from keyman.config import OciGenaiOptions, Settings, load
from keyman.errors import ConfigError

GENAI = """\
credentials:
  genai:
    provider: oci-genai
    region: us-chicago-1
    compartment_id: ocid1.compartment.oc1..x
"""


def read(text: str, home: Path, mode: int = 0o600, **environ: str) -> Settings:
    path = home.parent / "config.yaml"
    path.write_text(text)
    path.chmod(mode)
    return load(path, home=home, environ=environ)


def mistakes(text: str, home: Path, mode: int = 0o600, **environ: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        read(text, home, mode, **environ)
    assert caught.value.problems
    assert all(line in caught.value.message for line in caught.value.problems)
    return [line.removeprefix("config.yaml:") for line in caught.value.problems]


def oci_options(settings: Settings, name: str = "genai") -> OciGenaiOptions:
    options = settings.credentials[name].options
    assert isinstance(options, OciGenaiOptions)
    return options
