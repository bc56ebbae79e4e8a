"""A sandbox as a process of its own, so that it outlives whoever is being killed in a test.

Prints its address on the first line of stdout, flushes, and serves until it is told to end. With
--identity, the address of OCI's identity services follows on the second line.

--profile-dir is where credentials for it are written, before the address is printed: a config file
and a key for OCI, a credentials file of each kind for Google, for OpenAI the admin key and a file
with the ids around it, for Vault a token and what its two sign-ins take.

With --service all, OCI's, Google's and OpenAI's clouds are there at once, with a configuration for
a credential of each kind in that folder (trying.py); `break` makes trouble there (breaking.py).
"""

from __future__ import annotations

import argparse
import signal
import sys
import threading
from contextlib import ExitStack
from pathlib import Path
from typing import TypeVar

from keyman.sandbox import breaking
from keyman.sandbox.behaviour import Behaviour
from keyman.sandbox.google import GoogleSandbox
from keyman.sandbox.google_behaviour import GoogleBehaviour
from keyman.sandbox.hashicorp_vault import HashicorpVaultSandbox, VaultBehaviour
from keyman.sandbox.oci_genai import OciGenaiSandbox
from keyman.sandbox.oci_identity import OciIdentity
from keyman.sandbox.openai import OpenAISandbox
from keyman.sandbox.openai_behaviour import OpenAIBehaviour
from keyman.sandbox.questions import Questions
from keyman.sandbox.trying import Clouds, serve_all, used_before

Q = TypeVar("Q", bound=Questions)


def main(arguments: list[str] | None = None) -> None:
    """Serve until SIGTERM or SIGINT."""
    given = sys.argv[1:] if arguments is None else arguments
    if given[:1] == ["break"]:
        sys.exit(breaking.main(given[1:]))
    options = _parser().parse_args(given)
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    serve = {
        "oci": _serve_oci,
        "google": _serve_google,
        "openai": _serve_openai,
        "vault": _serve_vault,
        "all": _serve_all,
    }
    with ExitStack() as stack:
        serve[options.service](options, stack)
        ended.wait()


def say(address: str) -> None:
    """Tell the parent; it may be waiting for exactly this line."""
    sys.stdout.write(f"{address}\n")
    sys.stdout.flush()


def _serve_oci(options: argparse.Namespace, stack: ExitStack) -> None:
    sandbox = OciGenaiSandbox(
        behaviour=_answers(Behaviour, options),
        seed=options.seed,
        secret_prefix=options.secret_prefix,
        key_limit=options.key_limit,
        policy_missing=options.policy_missing,
    )
    if options.profile_dir:
        sandbox.make_profile(options.profile_dir)
    say(stack.enter_context(sandbox.serve(options.port)))
    if options.identity:
        say(stack.enter_context(OciIdentity(sandbox).serve()))


def _serve_google(options: argparse.Namespace, stack: ExitStack) -> None:
    sandbox = GoogleSandbox(
        behaviour=_answers(GoogleBehaviour, options),
        seed=options.seed,
        mark=options.mark,
        token_seconds=options.token_seconds,
    )
    url = stack.enter_context(sandbox.serve(options.port))
    # The files name the address, which isn't known before.
    if options.profile_dir:
        sandbox.write_credentials(options.profile_dir)
    say(url)


def _serve_openai(options: argparse.Namespace, stack: ExitStack) -> None:
    sandbox = OpenAISandbox(
        behaviour=_answers(OpenAIBehaviour, options), seed=options.seed, mark=options.mark
    )
    url = stack.enter_context(sandbox.serve(options.port))
    if options.profile_dir:
        sandbox.write_credentials(options.profile_dir)
    say(url)


def _serve_vault(options: argparse.Namespace, stack: ExitStack) -> None:
    sandbox = HashicorpVaultSandbox(behaviour=_answers(VaultBehaviour, options), seed=options.seed)
    url = stack.enter_context(sandbox.serve(options.port))
    if options.profile_dir:
        sandbox.write_credentials(options.profile_dir)
    say(url)


def _serve_all(options: argparse.Namespace, stack: ExitStack) -> None:
    folder = (options.profile_dir or Path("sandbox")).absolute()
    taken = used_before(folder)
    if taken:
        sys.exit(taken)
    clouds = Clouds(
        OciGenaiSandbox(behaviour=_answers(Behaviour, options), seed=options.seed),
        GoogleSandbox(
            behaviour=_answers(GoogleBehaviour, options),
            seed=options.seed,
            token_seconds=options.token_seconds,
        ),
        OpenAISandbox(behaviour=_answers(OpenAIBehaviour, options), seed=options.seed),
    )
    say(serve_all(clouds, folder, options.port, stack))


def _answers(kind: type[Q], options: argparse.Namespace) -> Q:
    if options.kind or options.seed is None:
        return kind()
    return kind.from_seed(options.seed, pace=options.pace)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m keyman.sandbox", description=__doc__)
    services = ("oci", "google", "openai", "vault", "all")
    parser.add_argument("--service", choices=services, default="oci", help="whom to imitate")
    parser.add_argument("--port", type=int, default=0, help="0 takes any free one")
    parser.add_argument("--seed", type=int, help="repeatable secrets, faults and behaviour")
    parser.add_argument("--kind", action="store_true", help="the kindest cloud, whatever the seed")
    parser.add_argument("--pace", type=float, default=1.0, help="stretches the cloud's delays")
    parser.add_argument("--profile-dir", type=Path, help="write credentials here")
    parser.add_argument("--secret-prefix", default="sk-sandbox", help="what OCI's start with")
    parser.add_argument("--mark", default="sandbox", help="what Google's and OpenAI's contain")
    parser.add_argument(
        "--token-seconds", type=float, default=3600.0, help="how long Google's tokens live"
    )
    parser.add_argument("--key-limit", type=int, default=100, help="API keys per tenancy")
    parser.add_argument("--policy-missing", action="store_true", help="start without IAM policy")
    parser.add_argument("--identity", action="store_true", help="serve metadata and federation too")
    return parser


if __name__ == "__main__":
    main()
