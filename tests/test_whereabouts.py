"""What the journal remembers of how a provider was reached: everything but the secrets."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from keyman.config import OpenaiOptions
from keyman.providers import KINDS
from keyman.whereabouts import OPTIONS, options_of, whereabouts
from tests.configs import GENAI, read

CONFIGURED = {
    "oci-genai, few words": GENAI,
    "oci-genai, many words": (
        GENAI + "    api_key_id: ocid1.generativeaiapikey.oc1..x\n    endpoint: https://x\n"
        "    auth: {kind: session-token, token: t}\n    slots: [a, b, c]\n    late_after: 90s\n"
    ),
    "google, few words": (
        "credentials: {v: {provider: google, base_url: 'https://x', source: {kind: adc}}}"
    ),
    "google, many words": (
        "credentials: {v: {provider: google, project: my-project, location: eu, endpoint_id: '7', "
        "quota_project: other-project, scopes: ['https://a.b/c', email], "
        "endpoints: {token: 'https://t', metadata: 'http://127.0.0.1:1'}, "
        "source: {kind: impersonate, target: a@b, lifetime: 2h, delegates: [c@d, e@f], "
        "from: {kind: authorized-user, file: ~/adc.json}}}}"
    ),
    "openai": (
        "credentials: {v: {provider: openai, admin_key: {credential: a}, project_id: proj_x, "
        "service_account_id: svc_acct_x, verify: {within: 3m}}, a: {provider: static}}"
    ),
    "openai, admin": (
        "credentials: {v: {provider: openai, key_type: admin, admin_key: {credential: a}}, "
        "a: {provider: static}}"
    ),
    "static, few words": "credentials: {v: {provider: static}}",
    "static, many words": (
        "credentials: {v: {provider: static, base_url: 'https://x', verify: {get: /models}, "
        "expires_at: '2027-01-31T09:00:00+09:00'}}"
    ),
}


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


@pytest.mark.parametrize("text", CONFIGURED.values(), ids=CONFIGURED.keys())
def test_it_comes_back_as_it_was(text: str, home: Path) -> None:
    one = next(iter(read(text, home).credentials.values()))
    assert options_of(json.loads(whereabouts(one))) == one.options


def test_a_secret_does_not_come_back(home: Path) -> None:
    text = CONFIGURED["openai"].replace("{credential: a}", "sk-admin-canary")
    one = read(text, home).credentials["v"]
    assert isinstance(one.options, OpenaiOptions)
    told = whereabouts(one)
    assert "canary" not in told
    assert options_of(json.loads(told)) == replace(one.options, admin_key=None)


def test_what_was_remembered_before_there_were_other_kinds_is_still_understood(home: Path) -> None:
    """As keyman 0.1.0 wrote it."""
    one = read(GENAI, home).credentials["genai"]
    old = {
        "provider": "oci-genai",
        "options": {
            "api_key_id": None,
            "auth": {
                "file": str(Path.home() / ".oci/config"),
                "kind": "config-file",
                "profile": "DEFAULT",
                "token": None,
            },
            "base_url": "https://inference.generativeai.us-chicago-1.oci.oraclecloud.com"
            "/20231130/actions/v1",
            "compartment_id": "ocid1.compartment.oc1..x",
            "endpoint": None,
            "late_after": 360.0,
            "region": "us-chicago-1",
            "slots": ["key-one", "key-two"],
            "verify": {
                "every": 1.0,
                "model": "meta.llama-3.3-70b-instruct",
                "successes": 2,
                "within": 120.0,
            },
        },
    }
    assert json.loads(whereabouts(one)) == old
    assert options_of(old) == one.options


def test_every_kind_can_be_remembered() -> None:
    assert OPTIONS.keys() == KINDS.keys()
