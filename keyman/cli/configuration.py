"""Which configuration a call of keyman means. Imports no command-line parser and no database."""

from __future__ import annotations

import os
from pathlib import Path

from keyman.config import Settings, find_config, find_home, load


def load_settings(config: str | None) -> Settings:
    """What `--config`, the environment and the platform say, in this order; raises ConfigError."""
    environ = dict(os.environ)
    path = find_config(Path(config) if config else None, environ)
    return load(path, home=find_home(environ), environ=environ)
