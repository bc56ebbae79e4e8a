"""docs/licences.md lists what keyman[daemon] brings along, as each package says it itself.

KEYMAN_DOCS=write pytest tests/test_licences.py writes it anew.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, metadata
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs/licences.md"
LOCKED = re.compile(r"^([a-z0-9._-]+)==([^ ;\\]+)", re.MULTILINE)
ELSEWHERE = {  # on other machines only: what their own pages say
    "httpx2-jsfetch": "BSD-3-Clause",
    "pywin32-ctypes": "BSD-3-Clause",
}
SAID_BY_HAND = {  # their metadata names none
    "pysqlite3": "Zlib",
    "python-dateutil": "Apache-2.0 OR BSD-3-Clause",
}
HEAD = """\
# Licences

keyman is under Apache-2.0. `pip install keyman` brings nothing else along; `keyman[daemon]` brings
these, at these versions, each as its own metadata names its licence. None is changed or copied into
keyman. `make sbom` writes the same as a bill of materials (CycloneDX).

| package | version | licence |
|---|---|---|
"""


def licence(package: str) -> str:
    if package in SAID_BY_HAND or package in ELSEWHERE:
        return SAID_BY_HAND.get(package) or ELSEWHERE[package]
    told = metadata(package)
    named = [*(told.get_all("License-Expression") or ()), *(told.get_all("License") or ()), ""]
    said = str(named[0]).strip()
    if said and "\n" not in said:
        return said
    kinds = [str(one) for one in told.get_all("Classifier") or [] if str(one).startswith("License")]
    return ", ".join(one.rpartition(" :: ")[2] for one in kinds)


def rows() -> Iterator[str]:
    text = (ROOT / "requirements/daemon.lock").read_text(encoding="utf-8")
    for package, version in LOCKED.findall(text):
        yield f"| {package} | {version} | {licence(package)} |\n"


def test_every_package_is_listed_with_its_licence() -> None:
    now = HEAD + "".join(rows())
    if os.environ.get("KEYMAN_DOCS") == "write":
        PAGE.write_text(now, encoding="utf-8")
    assert PAGE.read_text(encoding="utf-8") == now
    assert "|  |" not in now, "a package whose licence nobody knows"


def test_those_that_are_said_by_hand_say_none_themselves() -> None:
    for package in ELSEWHERE:
        try:
            metadata(package)
        except PackageNotFoundError:
            continue
        raise AssertionError(f"{package} is here: let it speak for itself")
