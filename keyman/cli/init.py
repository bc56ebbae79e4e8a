"""`keyman init`: a first configuration, by asking or by options; then store, journal and `check`.

Questions go to standard error and are asked at a terminal only; what was made, what is still needed
and what `check` finds goes to standard output. Nothing is overwritten.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import click

from keyman.cli import terminal
from keyman.cli.begun import Begun
from keyman.config.kinds import PROVIDERS
from keyman.config.stores import STORES, USUAL
from keyman.config.values import NAME
from keyman.errors import UsageError
from keyman.setting_up import answers, placing, questions
from keyman.setting_up.question import Question, left_as_it_is
from keyman.setting_up.surroundings import Surroundings, look_around
from keyman.setting_up.writing import Wanted, credential, written
from keyman.telemetry import start_logging

BY_OPTIONS = (
    "at a terminal it asks; without one: keyman init --provider oci-genai "
    "--set region=us-chicago-1 --set compartment_id=OCID"
)


@click.command("init")
@click.option("--provider", type=click.Choice(list(PROVIDERS)), help="who issues the secrets")
@click.option(
    "--set", "given", metavar="KEY=VALUE", multiple=True, help="a key of it, e.g. auth.profile=TEAM"
)
@click.option(
    "--name", metavar="NAME", help="what applications ask for (else as the kind suggests)"
)
@click.option("--store", type=click.Choice(list(STORES)), default=USUAL, help="where secrets rest")
@click.option("--store-set", metavar="KEY=VALUE", multiple=True, help="a key of the store")
@click.option("--yes", is_flag=True, help="ask nothing: take what Enter would")
@click.option("--dry-run", is_flag=True, help="show what would be written, to paste it elsewhere")
@click.option("--json", "as_json", is_flag=True, help="for programs")
@click.pass_context
def command(  # noqa: PLR0913 (one each)
    ctx: click.Context,
    /,
    *,
    provider: str | None,
    given: tuple[str, ...],
    name: str | None,
    store: str,
    store_set: tuple[str, ...],
    yes: bool,
    dry_run: bool,
    as_json: bool,
) -> int:
    """Write a first configuration, make journal and store, and check it all.

    Finds what lies around (~/.oci/config, OCI_CONFIG_FILE, what gcloud leaves,
    GOOGLE_APPLICATION_CREDENTIALS, OPENAI_ADMIN_KEY) and asks for the rest. A value may be
    `!env NAME` or `!file PATH`; secrets must be. Overwrites nothing. Exit status 1 if `check`
    finds an error.

    Example: keyman init
    """
    explicit, environ = ctx.obj["config"], dict(os.environ)
    start_logging(ctx.obj["log_level"] or "error", ctx.obj["log_format"] or "text")
    path = placing.target(explicit, environ)
    if not dry_run:
        placing.refuse_another(path)
    asking = _Asking(environ, at_a_terminal=sys.stdin.isatty() and not yes)
    wanted = asking.wanted(provider, given, name, store, store_set)
    text = written(wanted, placing.example())
    settings = placing.judged(text, path, environ)
    if dry_run:
        _show_text(text, wanted, path, as_json=as_json)
        return 0
    placing.put(text, path)
    return Begun(settings, wanted, path, explicit).tell(as_json=as_json)


# Asking.


@dataclass(frozen=True, slots=True)
class _Asking:
    environ: Mapping[str, str]
    at_a_terminal: bool

    def wanted(
        self,
        provider: str | None,
        given: tuple[str, ...],
        name: str | None,
        store: str,
        store_given: tuple[str, ...],
    ) -> Wanted:
        """What the options say and a person answers. Raises UsageError."""
        if name is not None and not NAME.fullmatch(name):
            raise UsageError(f"--name: {name[:60]!r} is none", hint="1 to 63 of a-z, 0-9, - and _")
        if provider is None and (given or not self.at_a_terminal):
            raise UsageError("--provider says what is to be kept, and is missing", hint=BY_OPTIONS)
        around = look_around(self.environ)
        self._greet(around)
        kind = provider or str(self._answered(questions.provider_question(around))["provider"])
        said = self._credential(kind, answers.of_credential(kind, given))
        kept = answers.of_store(store, store_given)
        return Wanted(kind, name or questions.NAMES[kind], said, store, kept)

    def _credential(self, kind: str, said: dict[str, str | None]) -> dict[str, str | None]:
        missing: list[str] = []
        while question := questions.next_question(kind, self._around(said), said, self.environ):
            if question.default is None and question.needed and not self.at_a_terminal:
                missing.append(question.key)
                said |= left_as_it_is(question)
            else:
                # What was given by options stands, whatever else an answer brings along.
                said = {**self._answered(question), **said}
        if missing:
            lacking = " ".join(f"--set {key}=…" for key in missing)
            raise UsageError(f"{kind} needs {' and '.join(missing)}", hint=f"add {lacking}")
        return said

    def _around(self, said: Mapping[str, str | None]) -> Surroundings:
        return look_around(self.environ, said.get("auth.file"))

    def _greet(self, around: Surroundings) -> None:
        if not self.at_a_terminal:
            return
        for line in around.found:
            terminal.note(f"found  {line}")
        for line in around.remarks:
            terminal.warn(line)
        terminal.note("Enter takes what stands in [brackets]; Ctrl-C ends it with nothing written.")

    def _answered(self, question: Question) -> Mapping[str, str | None]:
        if not (self.at_a_terminal and question.ask):
            return self._usual(question)
        terminal.note("")
        for line in (question.text, question.remark) if question.remark else (question.text,):
            terminal.note(line)

        def read(typed: str) -> Mapping[str, str | None]:
            if not typed.strip() and not question.needed:
                return left_as_it_is(question)
            try:
                return question.read(typed.strip())
            except ValueError as error:
                raise click.UsageError(f"that {error}") from None

        enter = question.default if question.needed or question.default else ""
        answer: Mapping[str, str | None] = click.prompt(
            ">",
            default=enter,
            show_default=bool(enter),
            value_proc=read,
            prompt_suffix=" ",
            err=True,
        )
        return answer

    def _usual(self, question: Question) -> Mapping[str, str | None]:
        """What Enter takes. Raises UsageError where that does not do."""
        if question.default is None:
            return left_as_it_is(question)
        try:
            return question.read(question.default)
        except ValueError as error:
            raise UsageError(
                f"{question.key}: {question.default} {error}", hint=f"--set {question.key}=…"
            ) from None


def _show_text(text: str, wanted: Wanted, path: Path, *, as_json: bool) -> None:
    """Of a configuration that is there already, only what would have to be added to it."""
    if path.exists():
        text = "\n".join(credential(wanted))
    if as_json:
        terminal.show_json({"config": str(path), "text": text})
        return
    for line in text.splitlines():
        terminal.say(line)
