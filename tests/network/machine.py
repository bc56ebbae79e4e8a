"""The real providers with short time-outs, and if asked for with a bug planted.

Their modules are compiled afresh from their own source, under names of their own: a time-out is one
passage replaced by another, and so is a bug. A passage that is not there exactly once is an error,
so that neither outlives the code it is about.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

from tests.sim.planting import _module, source

V = "keyman.vendors."
FRESH = (
    V + "oci_outcomes",
    V + "oci_probe",
    V + "oci",
    V + "openai_outcomes",
    V + "openai_calls",
    V + "openai_keys",
    V + "openai_orphans",
    V + "openai_unanswered",
    V + "openai_admin",
    V + "openai_probe",
    V + "google_transport",
    V + "google_keys",
    V + "google_federation",
    V + "google_sources",
    V + "google",
    "keyman.providers.oci_genai",
    "keyman.providers.openai",
    "keyman.providers.google",
)
Change = tuple[str, str, str]  # module, passage, what stands there instead
CONNECT, READ, DEADLINE = 0.4, 0.4, 0.8  # seconds, of every call
_WAS = "CONNECT_SECONDS, READ_SECONDS"
SHORT: tuple[Change, ...] = (
    (V + "oci", f"{_WAS} = 5.0, 20.0", f"{_WAS} = {CONNECT}, {READ}"),
    (V + "oci", "DEADLINE_SECONDS = 60.0", f"DEADLINE_SECONDS = {DEADLINE}"),
    (
        V + "oci_probe",
        f"{_WAS}, DEADLINE_SECONDS = 5.0, 10.0, 30.0",
        f"{_WAS}, DEADLINE_SECONDS = {CONNECT}, {READ}, {DEADLINE}",
    ),
    (V + "openai_calls", f"{_WAS} = 5.0, 15.0", f"{_WAS} = {CONNECT}, {READ}"),
    (V + "openai_calls", "DEADLINE_SECONDS = 30.0", f"DEADLINE_SECONDS = {DEADLINE}"),
    (V + "google_transport", f"{_WAS} = 5.0, 10.0", f"{_WAS} = {CONNECT}, {READ}"),
    (V + "google", "DEADLINE_SECONDS = 15.0", f"DEADLINE_SECONDS = {DEADLINE}"),
)
_NUMBERS = itertools.count(1)


@dataclass(frozen=True, slots=True)
class Providers:
    """The three classes, as `keyman.providers.open_provider` would call them."""

    oci: Callable[..., Any]
    openai: Callable[..., Any]
    google: Callable[..., Any]


@cache
def providers(*bug: Change) -> Providers:
    """Compiled with short time-outs and these changes."""
    prefix, made = f"short_{next(_NUMBERS)}", {}
    changes = SHORT + bug
    for name in FRESH:
        text = source(name)
        for module, passage, instead in changes:
            if module == name:
                assert text.count(passage) == 1, f"{passage!r} is not there once in {name}"
                text = text.replace(passage, instead)
        for other in FRESH:
            text = text.replace(f"from {other} import", f"from {prefix}.{other} import")
        # Modules imported by name, all of them among ours.
        text = re.sub(
            r"^from keyman\.vendors import",
            f"from {prefix}.keyman.vendors import",
            text,
            flags=re.MULTILINE,
        )
        made[name] = _module(prefix, name, text)
    return Providers(
        made["keyman.providers.oci_genai"].OciGenai,
        made["keyman.providers.openai"].Openai,
        made["keyman.providers.google"].Google,
    )
