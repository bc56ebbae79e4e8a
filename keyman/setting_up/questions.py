"""What is still to be asked of somebody who wants a first configuration, one after the other.

`next_question` looks at what lies around and at what was answered already, by options too, and
gives the next question with the answer that Enter takes. Where only one answer makes sense nobody
is asked: such a question comes with `ask=False`. Never more than four after the provider.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Final

from keyman.config import values
from keyman.config.kinds import PROVIDERS
from keyman.setting_up import questions_of_oci
from keyman.setting_up.answers import Answers
from keyman.setting_up.question import Question, Step, checked
from keyman.setting_up.surroundings import ADMIN_VARIABLE, Surroundings, followed, google_file
from keyman.telemetry import SECRET_SHAPES

NAMES: Final = {
    "oci-genai": "genai",
    "google": "vertex",
    "openai": "openai-main",
    "static": "partner",
}
"""What a credential of that kind is called if nobody says otherwise."""


def provider_question(around: Surroundings) -> Question:
    kinds = " | ".join(PROVIDERS)
    default = "oci-genai"
    if not around.oci and not around.principal:
        default = "google" if around.google else "openai" if around.admin_key else default
    return Question("provider", f"What should keyman keep? {kinds}", _provider, default)


def next_question(
    provider: str, around: Surroundings, answers: Answers, environ: Mapping[str, str]
) -> Question | None:
    """None once enough is known."""
    for step in STEPS[provider]:
        question = step(around, answers, environ)
        if question is not None and question.key not in answers:
            return question
    return None


# Google.


def _source(around: Surroundings, answers: Answers, environ: Mapping[str, str]) -> Question | None:
    if "source" in answers:
        return None
    default = around.google.written if around.google else "metadata"
    default = answers.get("source.file") or default
    text = "Whose tokens? A credentials file; metadata on a machine of Google's; or adc"
    ask = "source.file" not in answers
    return Question("source.kind", text, partial(_source_of, environ), default, ask=ask)


def _source_of(environ: Mapping[str, str], typed: str) -> dict[str, str | None]:
    if typed in ("metadata", "adc"):
        return {"source.kind": typed}
    found = google_file(typed, environ)
    written = typed if typed.startswith("~") else str(followed(typed, environ))
    return {"source.kind": found.kind, "source.file": written}


def _project(around: Surroundings, answers: Answers, _: Mapping[str, str]) -> Question | None:
    if answers.get("base_url"):
        return None
    read = partial(checked, "project", values.project)
    return Question("project", "Which project? Its id", read, around.google_project)


def _location(around: Surroundings, answers: Answers, _: Mapping[str, str]) -> Question | None:
    if answers.get("base_url"):
        return None
    read = partial(checked, "location", values.location)
    default = around.google_location or "us-central1"
    return Question("location", "Which location? A region, or global", read, default)


# OpenAI.


def _openai_project(
    around: Surroundings, answers: Answers, _: Mapping[str, str]
) -> Question | None:
    if answers.get("key_type") == "admin":
        return None
    read = partial(checked, "project_id", values.project_id)
    return Question("project_id", "Which project? Its id, proj_…", read, around.openai_project)


def _account(_: Surroundings, answers: Answers, __: Mapping[str, str]) -> Question | None:
    if answers.get("key_type") == "admin":
        return None
    read = partial(checked, "service_account_id", values.service_account_id)
    return Question("service_account_id", "Keys of which service account? Its id, svc_acct_…", read)


def _admin_key(
    around: Surroundings, answers: Answers, environ: Mapping[str, str]
) -> Question | None:
    if any(key.startswith("admin_key.") for key in answers):
        return None
    default = f"${ADMIN_VARIABLE}" if around.admin_key else None
    text = "Where is the admin key? $VARIABLE or a file (never the key itself)"
    return Question("admin_key", text, partial(_pointed_at, environ), default)


def _pointed_at(environ: Mapping[str, str], typed: str) -> dict[str, str | None]:
    if SECRET_SHAPES.search(typed):
        raise ValueError("looks like the key itself: put it into a file of yours and name that")
    if typed.startswith("$"):
        name = values.variable(typed.removeprefix("$").strip("{}"))
        if name not in environ:
            raise ValueError(f"is not set: export {name}, or name a file")
        return {"admin_key": f"!env {name}"}
    path = followed(values.text(typed), environ)
    if not path.is_file():
        raise ValueError("is no file that is there")
    return {"admin_key": f"!file {path}"}


# By hand.


def _static_address(_: Surroundings, __: Answers, ___: Mapping[str, str]) -> Question | None:
    read = partial(checked, "base_url", values.url)
    text = "Address of its API, for applications? Enter: none"
    return Question("base_url", text, read, needed=False)


def _static_path(_: Surroundings, answers: Answers, __: Mapping[str, str]) -> Question | None:
    if not answers.get("base_url") or "verify" in answers:
        return None
    read = partial(checked, "verify.get", values.path)
    text = "A path there that a good secret may read, e.g. /models? Enter: no probes"
    return Question("verify.get", text, read, needed=False)


def _static_end(_: Surroundings, __: Answers, ___: Mapping[str, str]) -> Question | None:
    def read(typed: str) -> dict[str, str | None]:
        values.moment(typed)
        return {"expires_at": typed}

    text = "When does it end, e.g. 2027-01-31T00:00:00Z? Enter: not known"
    return Question("expires_at", text, read, needed=False)


def _provider(typed: str) -> dict[str, str | None]:
    if typed not in PROVIDERS:
        raise ValueError(f"is none of {', '.join(PROVIDERS)}")
    return {"provider": typed}


STEPS: Final[Mapping[str, tuple[Step, ...]]] = {
    "oci-genai": questions_of_oci.STEPS,
    "google": (_source, _project, _location),
    "openai": (_openai_project, _account, _admin_key),
    "static": (_static_address, _static_path, _static_end),
}
