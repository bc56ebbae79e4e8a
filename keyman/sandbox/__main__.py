"""The sandbox as a process of its own, so that it outlives whoever is being killed in a test.

Prints its address on the first line of stdout, flushes, and serves until it is told to end. With
--identity, the address of the identity services follows on the second line.
"""

from __future__ import annotations

import argparse
import signal
import sys
import threading
from contextlib import ExitStack
from pathlib import Path

from keyman.sandbox.behaviour import Behaviour
from keyman.sandbox.oci_genai import OciGenaiSandbox
from keyman.sandbox.oci_identity import OciIdentity


def main(arguments: list[str] | None = None) -> None:
    """Serve until SIGTERM or SIGINT."""
    options = _parser().parse_args(arguments)
    sandbox = _sandbox(options)
    if options.profile_dir:
        sandbox.make_profile(options.profile_dir)
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    with sandbox.serve(options.port) as url, ExitStack() as stack:
        say(url)
        if options.identity:
            say(stack.enter_context(OciIdentity(sandbox).serve()))
        ended.wait()


def say(address: str) -> None:
    """Tell the parent; it may be waiting for exactly this line."""
    sys.stdout.write(f"{address}\n")
    sys.stdout.flush()


def _sandbox(options: argparse.Namespace) -> OciGenaiSandbox:
    kind = options.kind or options.seed is None
    rules = Behaviour() if kind else Behaviour.from_seed(options.seed, pace=options.pace)
    return OciGenaiSandbox(
        behaviour=rules,
        seed=options.seed,
        secret_prefix=options.secret_prefix,
        key_limit=options.key_limit,
        policy_missing=options.policy_missing,
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m keyman.sandbox", description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="0 takes any free one")
    parser.add_argument("--seed", type=int, help="repeatable secrets, faults and behaviour")
    parser.add_argument("--kind", action="store_true", help="the kindest cloud, whatever the seed")
    parser.add_argument("--pace", type=float, default=1.0, help="stretches the cloud's delays")
    parser.add_argument("--profile-dir", type=Path, help="write an OCI config and key here")
    parser.add_argument("--secret-prefix", default="sk-sandbox", help="what all secrets start with")
    parser.add_argument("--key-limit", type=int, default=100, help="API keys per tenancy")
    parser.add_argument("--policy-missing", action="store_true", help="start without IAM policy")
    parser.add_argument("--identity", action="store_true", help="serve metadata and federation too")
    return parser


if __name__ == "__main__":
    main()
