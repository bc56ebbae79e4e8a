"""Finds the command, runs it, and turns whatever comes out into lines and an exit status."""

from __future__ import annotations

import importlib
import os
import sys
from io import TextIOWrapper
from typing import Any

import click

from keyman import __version__
from keyman.cli import AT_ONCE, terminal
from keyman.cli.unparsed import Unparsed
from keyman.errors import INTERRUPTED, Error, UsageError

COMMANDS = {
    "demo": "see a key rotate through its two slots, here and now, without any account",
    "init": "a first configuration: asks a few questions, finds what is there",
    "daemon": "run the scheduler and the agent in the foreground",
    "reload": "have the daemon take up a changed configuration",
    "check": "everything that can be wrong, before it is",
    "discover": "what lies at the providers and is not managed; what others changed",
    "status": "how each credential is and what happens next",
    "plan": "what will happen, as far ahead as you ask, and a picture of it",
    "list": "the names of the credentials",
    "history": "what happened, when, by whom and why",
    "get": "print the current secret",
    "env": "print what sets a shell's variables to it",
    "run": "run a command that finds it in its environment",
    "write": "put it into a file, and keep that current",
    "rotate": "replace the current secret now",
    "revoke": "destroy a leaked secret, its replacement first",
    "rollback": "go back to the previous secret",
    "activate": "switch a slot on at the provider",
    "deactivate": "switch a slot off at the provider",
    "adopt": "take an existing key under management",
    "put": "keep a secret that comes by hand",
    "policy": "the IAM statements that a credential needs",
    "forget": "drop what is known of a credential that left the configuration",
    "client": "who may look up over the network, by tokens",
    "notify": "who is told when something goes wrong, and whether it arrives",
    "store": "try out, fill and rekey the places where secrets rest",
    "backup": "journal and secrets in one encrypted file",
    "restore": "the home that a backup holds",
    "audit": "whether somebody edited the history",
    "db": "look after the journal",
}
MODULES = {"list": "list_names"}  # others are called as their command is


class Commands(click.Group):
    """Imports a command when it is called, so that none pays for another's packages."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"keyman.cli.{MODULES.get(cmd_name, cmd_name)}")
        if cmd_name in AT_ONCE:
            return Unparsed(cmd_name, module)
        found: click.Command = module.command
        return found

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


EPILOG = """\
Completion: eval "$(_KEYMAN_COMPLETE=bash_source keyman)" in bash; zsh_source in zsh,
once compinit has run;
_KEYMAN_COMPLETE=fish_source keyman | source in fish.
"""


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]}, epilog=EPILOG)
@click.option("--config", metavar="FILE", help="the configuration (else KEYMAN_CONFIG)")
@click.option(
    "--log-level",
    type=click.Choice(["debug", "info", "warning", "error"]),
    help="else the configuration's",
)
@click.option("--log-format", type=click.Choice(["text", "json"]), help="else the configuration's")
@click.version_option(__version__, prog_name="keyman")
@click.pass_context
def keyman(ctx: click.Context, /, **options: str | None) -> None:
    """Keeps the API keys of GenAI workloads current: issues, verifies, promotes, retires.

    Example: keyman demo
    """
    ctx.obj = options


def run(arguments: list[str]) -> int:
    """Run the command line; returns the exit status. No traceback leaves this function."""
    as_json = "--json" in arguments
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            # No locale stops an error message, and who reads through a pipe sees each line at once.
            stream.reconfigure(errors="backslashreplace", line_buffering=True)
    try:
        result: Any = keyman.main(arguments, prog_name="keyman", standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as help_wanted:
        click.echo(help_wanted.format_message(), err=True)
        return 2
    except click.UsageError as error:
        return terminal.complain(_usage(error), as_json=as_json)
    except (click.Abort, KeyboardInterrupt):
        return INTERRUPTED
    except Error as error:
        return terminal.complain(error, as_json=as_json)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Exception as error:
        if os.environ.get("KEYMAN_TRACEBACK"):
            raise
        unforeseen = Error(
            f"unforeseen {type(error).__name__}",
            hint="please report this; KEYMAN_TRACEBACK=1 shows where it came from",
        )
        return terminal.complain(unforeseen, as_json=as_json)
    return result if isinstance(result, int) else 0


def _usage(error: click.UsageError) -> UsageError:
    path = error.ctx.command_path if error.ctx else "keyman"
    said = error.format_message()
    return UsageError(said[:1].lower() + said[1:].rstrip("."), hint=f"{path} --help")
