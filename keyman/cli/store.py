"""`keyman store check`, `copy` and `rekey`: looking after the places where secrets rest."""

from __future__ import annotations

from pathlib import Path

import click

from keyman.cli import terminal
from keyman.cli.passphrase import passphrase_options, read_passphrase
from keyman.cli.person import person
from keyman.cli.reach import settings_of
from keyman.clock import SystemClock
from keyman.config import DEFAULT, Settings, StoreKey
from keyman.core.model import Secret
from keyman.errors import UsageError
from keyman.housekeeping.checking import Checked, check
from keyman.housekeeping.house import alone, note, the_store
from keyman.views import Json

KEY_KINDS = ("file", "keyring", "passphrase", "systemd-credential", "env")


@click.group("store")
def command() -> None:
    """Look after the stores: where secrets rest.

    Example: keyman store check
    """


# Trying out.


@command.command("check")
@click.argument("name", required=False)
@click.option("--json", "as_json", is_flag=True, help="for programs")
@click.pass_context
def try_out(ctx: click.Context, *, name: str | None, as_json: bool) -> int:
    """Put a throw-away secret into the store (else into each), read it back, list it, drop it.

    A daemon may be running. Exit status 1 if anything was refused.

    Example: keyman store check default
    """
    settings = settings_of(ctx, quiet=True)
    names = [the_store(settings, name)] if name else list(settings.stores)
    found = [check(settings, one, SystemClock()) for one in names]
    if as_json:
        terminal.show_json({"stores": [_as_json(one) for one in found]})
    else:
        _show(found)
    return 0 if all(one.ok for one in found) else 1


def _as_json(one: Checked) -> Json:
    told = {"store": one.store, "kind": one.kind, "ok": one.ok, "durable": one.durable}
    counts = {"secrets": one.secrets, "missing": one.missing, "keys": one.keys}
    calls = [{"call": call, "ms": ms} for call, ms in one.calls.items()]
    wrong = one.error.as_json()["error"] if one.error else None
    return {**told, "mode": one.mode, **counts, "calls": calls, "error": wrong}


def _show(found: list[Checked]) -> None:
    heads = ["STORE", "KIND", "DURABLE", "MODE", "SECRETS", "MS", ""]
    terminal.table(heads, [_row(one) for one in found], spare=["MS"])
    for one in found:
        if one.error:
            terminal.complain(
                type(one.error)(f"{one.store}: {one.error.message}", hint=one.error.hint)
            )
        if one.keys and one.keys > 1:
            terminal.warn(
                f"{one.keys} keys open {one.store}: `keyman store rekey --finish` ends that"
            )


def _row(one: Checked) -> list[object]:
    durable = None if one.durable is None else "yes" if one.durable else "no"
    calls = " ".join(f"{call}={ms:.1f}" for call, ms in one.calls.items())
    word = "ok" if one.calls else "made by the daemon's first start"
    return [
        one.store,
        one.kind,
        durable,
        one.mode,
        one.secrets,
        calls,
        "error" if one.error else word,
    ]


# From one into another.


@command.command("copy")
@click.argument("names", nargs=-1)
@click.option("--to", "target", metavar="STORE", required=True, help="the store to fill")
@click.option("--from", "source", metavar="STORE", help="else the one that each credential names")
@click.option(
    "--move", is_flag=True, help="empty --from afterwards, once nothing names it any more"
)
@click.option("--json", "as_json", is_flag=True, help="for programs")
@click.pass_context
def copy_into(
    ctx: click.Context,
    *,
    names: tuple[str, ...],
    target: str,
    source: str | None,
    move: bool,
    as_json: bool,
) -> None:
    """Copy the secrets of NAMES (else all) into another store and read them back, while no daemon
    runs. May be repeated: what is there already is left alone.

    To move house: copy; write `store: STORE` into the configuration; copy again with --from and
    --move, which empties the old one.

    Example: keyman store copy --to team-vault
    """
    from keyman.housekeeping.moving import copy

    clock = SystemClock()
    with alone(settings_of(ctx, quiet=True)) as house:
        for warning in house.warnings:
            terminal.warn(warning)
        said = f"from {source or 'where they rest'} to {target}{', which moves them' * move}"
        note(house, clock, "ordered store copy", person(), said)
        done = copy(house, target, source=source, names=names, empty=move)
        dropped = f", {len(done.emptied)} dropped from {source}" if move else ""
        note(house, clock, "store copied", person(), f"{len(done.copied)} to {target}{dropped}")
    counts = {"copied": len(done.copied), "same": len(done.same), "emptied": len(done.emptied)}
    lost = [f"{name}/{number}" for name, number in done.lost]
    if as_json:
        terminal.show_json({**counts, "lost": lost, "still_named": done.still_named})
        return
    terminal.say(f"{target}: {counts['copied']} copied, {counts['same']} were there already")
    if move:
        terminal.say(f"{source}: {terminal.counted(counts['emptied'], 'secret')} dropped")
    if lost:
        terminal.warn(f"no store has {', '.join(lost)}, which the journal calls stored")
    if done.still_named:
        whom = ", ".join(done.still_named)
        terminal.say(f"now write `store: {target}` into the configuration for {whom}")


# Another key.


@command.command("rekey")
@click.argument("name", default=DEFAULT)
@click.option(
    "--key", "kind", type=click.Choice(KEY_KINDS), help="let a key of this kind in as well"
)
@click.option("--path", type=click.Path(path_type=Path), help="its file, or that of its salt")
@click.option("--variable", help="the environment variable that holds it (env)")
@click.option("--credential", help="what systemd calls it (systemd-credential)")
@passphrase_options
@click.option("--finish", is_flag=True, help="end every key but the one the configuration names")
@click.option("--json", "as_json", is_flag=True, help="for programs")
@click.pass_context
def rekey_it(  # noqa: PLR0913 - one per option of the interface
    ctx: click.Context,
    *,
    name: str,
    kind: str | None,
    path: Path | None,
    variable: str | None,
    credential: str | None,
    passphrase_file: Path | None,
    passphrase_env: str | None,
    finish: bool,
    as_json: bool,
) -> None:
    """Give a sealed file a new key and a new master key, while no daemon runs.

    The key is of the configured kind and takes the old one's place, also for other stores whose
    key lies there. For another kind: --key lets one in beside the old; then change `store.key` in
    the configuration; then --finish.

    Example: keyman store rekey default
    """
    from keyman.housekeeping import rekeying

    settings = settings_of(ctx, quiet=True)
    rekeying.sealed(settings, name)
    if kind and finish:
        raise UsageError("--key and --finish are two steps", hint="change store.key in between")
    another = None
    if kind:
        secret = _secret(kind, passphrase_file, passphrase_env)
        another = _key(settings, kind, path, secret, variable, credential)
    with alone(settings) as house:
        how = "finish" if finish else f"a key of kind {kind} besides" if kind else "a new key"
        note(house, SystemClock(), "ordered store rekey", person(), f"{name}: {how}")
        if another:
            done = rekeying.admit(house, name, another)
        else:
            done = rekeying.finish(house, name) if finish else rekeying.rekey(house, name)
    if as_json:
        told = {"stores": list(done.stores), "key": done.kind, "finished": done.finished}
        terminal.show_json(told)
        return
    for each in done.stores:
        after = "earlier ones do no more" if done.finished else "so does the old one"
        terminal.say(f"{each}: the key of kind {done.kind} opens it, {after}")
    if not done.finished:
        terminal.say("now name it in the configuration, then: keyman store rekey --finish")


def _secret(kind: str, file: Path | None, variable: str | None) -> Secret | None:
    return read_passphrase(file, variable, anew=True) if kind == "passphrase" else None


def _key(
    settings: Settings,
    kind: str,
    path: Path | None,
    passphrase: Secret | None,
    variable: str | None,
    credential: str | None,
) -> StoreKey:
    if kind in ("file", "passphrase") and path is None:
        raise UsageError(f"a key of kind {kind} lies in a file", hint="say which: --path FILE")
    where = (path or settings.home / "store.key").absolute()
    return StoreKey(kind, where, passphrase=passphrase, variable=variable, name=credential)
