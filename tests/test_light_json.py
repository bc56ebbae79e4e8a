"""The client reads JSON without the package json: the same values, the same refusals."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyman.client.connection import _json as read
from keyman.errors import NotRunning

SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner))


@given(VALUES, st.booleans(), st.sampled_from(["", " ", "\n", "\t \r\n"]))
def test_what_is_json_is_read_as_the_package_reads_it(
    value: object, ascii_only: bool, around: str
) -> None:
    try:
        text = f"{around}{json.dumps(value, ensure_ascii=ascii_only)}{around}".encode()
    except UnicodeEncodeError:  # half a character is no UTF-8
        return
    assert read(text) == json.loads(text)


@pytest.mark.parametrize(
    "text",
    [b"", b" ", b"{", b'{"a"', b'{"a":}', b'{"a":1,}', b'{"a":1}x', b"nul", b'"a', b"\xff", b"[1"],
)
def test_what_is_not_json_is_not_keyman_s(text: bytes) -> None:
    with pytest.raises(NotRunning, match="not keyman"):
        read(text)


def test_what_only_the_package_takes() -> None:
    assert read(b'\xef\xbb\xbf{"a": 1}') == {"a": 1}
    assert read(b"NaN") != read(b"NaN")


def test_the_package_is_not_imported_for_it() -> None:
    program = (
        "import sys\nfrom keyman.client.connection import _json\n"
        "assert _json(b'{\"a\": [1.5, null]}') == {'a': [1.5, None]}\n"
        "assert 'json' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
