"""What `init` asks of somebody who has an API key of OCI Generative AI, or wants one."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Final
from urllib.parse import urlsplit

from keyman.config import values
from keyman.config.kinds.oci_genai import INFERENCE
from keyman.setting_up.answers import Answers
from keyman.setting_up.question import Question, Step, checked
from keyman.setting_up.surroundings import USUAL_OCI, Surroundings, followed
from keyman.vendors.oci_iam import KNOWN_REGIONS

PRINCIPALS: Final = ("instance-principal", "resource-principal", "oke-workload")
USUAL_REGION: Final = "us-chicago-1"  # of a sandbox that a file says nothing of


def _signing(around: Surroundings, answers: Answers, environ: Mapping[str, str]) -> Question | None:
    if "auth" in answers or "auth.kind" in answers:
        return None
    if around.oci or "auth.file" in answers:
        return _profile(around, answers)
    text = f"How does keyman sign in to OCI? A file like {USUAL_OCI}, or one of"
    default = around.principal or USUAL_OCI
    remark = ", ".join(PRINCIPALS)
    return Question("auth.kind", text, partial(_sign_in, environ), default, remark=remark)


def _profile(around: Surroundings, answers: Answers) -> Question | None:
    """Which profile of the file; the only one is not asked for."""
    written = answers.get("auth.file") or (around.oci.written if around.oci else USUAL_OCI)
    profiles = around.oci.profiles if around.oci else ()
    named = answers.get("auth.profile")
    kinds = {one.name: "session-token" if one.session else "config-file" for one in profiles}

    def read(typed: str) -> dict[str, str | None]:
        if profiles and typed not in kinds:
            raise ValueError(f"is none of {', '.join(kinds)}")
        found: dict[str, str | None] = {"auth.kind": kinds.get(typed), "auth.profile": typed}
        return found | {"auth.file": None if written == USUAL_OCI else written}

    default = named or (
        chosen.name if around.oci and (chosen := around.oci.profile(None)) else None
    )
    text = f"Which profile of {written}? {', '.join(kinds)}"
    ask = named is None and len(profiles) > 1
    return Question("auth.kind", text, read, default or "DEFAULT", ask=ask)


def _region(around: Surroundings, answers: Answers, _: Mapping[str, str]) -> Question | None:
    if "endpoint" in answers and "base_url" in answers:
        return None
    profile = around.oci.profile(answers.get("auth.profile")) if around.oci else None
    theirs = profile.region if profile else None
    remark = f"Known to have them: {', '.join(KNOWN_REGIONS)}."
    text = "Region of the API key, e.g. us-chicago-1? (Or a sandbox's http:// address)"
    read = partial(_region_or_sandbox, theirs or USUAL_REGION)
    return Question("region", text, read, theirs, remark=remark)


def _compartment(around: Surroundings, answers: Answers, _: Mapping[str, str]) -> Question | None:
    profile = around.oci.profile(answers.get("auth.profile")) if around.oci else None
    text = "In which compartment is the API key, or is it to be made? An OCID"
    needed = not answers.get("api_key_id")
    read = partial(checked, "compartment_id", values.compartment_id)
    default = profile.tenancy if profile else None
    return Question("compartment_id", text, read, default, needed=needed)


def _existing_key(_: Surroundings, __: Answers, ___: Mapping[str, str]) -> Question | None:
    text = "Take over an API key that is in use? Its OCID; Enter: have one made"
    return Question(
        "api_key_id", text, partial(checked, "api_key_id", values.api_key_id), needed=False
    )


def _sign_in(environ: Mapping[str, str], typed: str) -> dict[str, str | None]:
    if typed in PRINCIPALS:
        return {"auth.kind": typed}
    if typed == USUAL_OCI:
        return {"auth.file": typed}
    path = followed(values.text(typed), environ)
    if not path.is_file():
        raise ValueError("is no file that is there")
    return {"auth.file": str(path)}


def _region_or_sandbox(region: str, typed: str) -> dict[str, str | None]:
    if not typed.startswith(("http://", "https://")):
        return {"region": values.region(typed)}
    address = values.url(typed)
    if not values.loopback(urlsplit(address).hostname or ""):
        raise ValueError("is no sandbox of this machine: name a region")
    return {
        "region": region,
        "endpoint": address,
        "base_url": f"{address}{urlsplit(INFERENCE).path}",
    }


STEPS: Final[tuple[Step, ...]] = (_signing, _region, _compartment, _existing_key)
