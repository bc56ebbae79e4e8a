"""Secrets in a vault: what lookups cost beside the default store, also while the vault is stopped,
and `keyman store copy` of a thousand secrets into a vault of each kind.

Vaults are imitations on this machine, in this process: they take the processor that they would not
take elsewhere, and no time on a network. Lookups go to two daemons, asked by turns.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

from benchmarks import store_copy
from benchmarks.asked_agent import lookups_go_to
from benchmarks.figure import Figure
from keyman import client
from keyman.config import load
from keyman.errors import Error
from keyman.housekeeping.house import alone
from keyman.housekeeping.moving import copy
from tests.vaults.kinds import REMOTE, Place, place_of

CONFIG = """\
store: {store}
credentials:
  partner: {{provider: static, base_url: https://inference.example.com/v1}}
"""
ROUNDS, CALLS = 200, 100
NOT_SLOWER = 1.1  # times the other; both are the same code, on a machine that others use
CALLS_A_SECRET = {"vault": 2.5, "oci-vault": 11.5, "aws-secrets-manager": 5.5}
STARTS_WITHIN = 30.0  # seconds


def figures() -> Iterator[Figure]:
    with tempfile.TemporaryDirectory(dir=os.environ.get("KEYMAN_BENCH_DIR")) as folder:
        yield from _lookups(Path(folder))
        for kind in REMOTE:
            yield _copied(Path(folder) / f"copied-{kind}", kind)


# Lookups.


def _lookups(folder: Path) -> Iterator[Figure]:
    place = place_of("vault", folder / "vault")
    usual, vault = folder / "usual-home", folder / "vault-home"
    with ExitStack() as vaults, ExitStack() as daemons:
        vaults.enter_context(place.served())
        daemons.enter_context(_daemon(usual, {"kind": "sealed-file"}, {}))
        daemons.enter_context(_daemon(vault, place.section(), place.environment()))
        yield _beside(usual, vault, "a lookup with a vault as its store, beside the default one")
        asked = len(place.gate.calls) if place.gate else 0
        vaults.close()  # nobody answers there any more
        yield _beside(usual, vault, "the same, the vault being stopped")
        assert place.gate is not None
        assert len(place.gate.calls) == asked, "a lookup asked the vault"


def _beside(usual: Path, vault: Path, what: str) -> Figure:
    took: dict[Path, list[float]] = {usual: [], vault: []}
    for _ in range(ROUNDS):
        for home, each in took.items():
            with lookups_go_to(home):
                client.lookup("partner")  # the connection is made
                begun = time.perf_counter_ns()
                for _ in range(CALLS):
                    client.lookup("partner")
                each.append((time.perf_counter_ns() - begun) / CALLS / 1000)
    # The best tenth: the others shared the processor with somebody.
    theirs, ours = (statistics.quantiles(each, n=10)[0] for each in took.values())
    return Figure(what, ours / theirs, NOT_SLOWER, detail=f"{ours:.1f} beside {theirs:.1f} µs")


@contextmanager
def _daemon(home: Path, store: Mapping[str, object], environ: Mapping[str, str]) -> Iterator[None]:
    home.mkdir(0o700)
    config = home / "config.yaml"
    config.write_text(CONFIG.format(store=json.dumps(store)))
    config.chmod(0o600)
    around = {**os.environ, **environ, "KEYMAN_HOME": str(home), "KEYMAN_CONFIG": str(config)}
    keyman = [sys.executable, "-m", "keyman"]
    value = b"sk-" + b"x" * 80
    subprocess.run(
        [*keyman, "put", "partner"], input=value, env=around, check=True, stdout=subprocess.DEVNULL
    )
    with subprocess.Popen([*keyman, "daemon"], env=around, stderr=subprocess.DEVNULL) as process:
        try:
            _wait_until_it_answers(home)
            yield
        finally:
            process.kill()


def _wait_until_it_answers(home: Path) -> None:
    """Not `wait_for_secret`: that one would take what this process holds from another daemon."""
    deadline = time.monotonic() + STARTS_WITHIN
    with lookups_go_to(home):
        while True:
            try:
                client.lookup("partner")
            except Error:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.1)
            else:
                return


# Copies.


def _copied(folder: Path, kind: str) -> Figure:
    place = place_of(kind, folder)
    with place.served():
        os.environ.update(place.environment())
        settings = load(_with_a_second(folder, place), home=folder, environ={})
        store_copy.fill(settings)
        with alone(settings) as house:
            began = time.monotonic()
            done = copy(house, "second")
            spent = time.monotonic() - began
    assert len(done.copied) == store_copy.SECRETS
    calls = len(place.gate.calls) if place.gate else 0
    what = f"calls a secret, copying {store_copy.SECRETS} into {kind}"
    each = calls / store_copy.SECRETS
    return Figure(what, each, CALLS_A_SECRET[kind], "calls", f"in {spent:.1f} s, imitated here")


def _with_a_second(folder: Path, place: Place) -> Path:
    config = folder / "config.yaml"
    config.write_text(f"stores: {json.dumps({'second': place.section()})}\ncredentials: {{}}\n")
    config.chmod(0o600)
    return config
