"""The text of a `.env` file with some variables set anew, and every other byte as it was.

    export OPENAI_API_KEY=old  # of the team
                          ^^^  all that changes

Comments, order, line ends, `export`, blanks and a missing last newline stay. Lines are told apart
as python-dotenv and node's dotenv do it: a value in quotes may run over several of them. Pure:
bytes in, bytes out, whatever their encoding.
"""

from __future__ import annotations

import re

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

BYTE_ORDER_MARK = b"\xef\xbb\xbf"
LINE_END = re.compile(rb"\r\n|\n|\r|\Z")
SET = re.compile(rb"[ \t\f\v]*(?:export[ \t\f\v]+)?(?P<name>[\w.-]+)[ \t\f\v]*=")
BLANKS = re.compile(rb"[ \t\f\v]*")
COMMENT = re.compile(rb"[ \t\f\v]#")
# Quotes that are not followed by the end of the line, or a comment, are part of a bare value.
QUOTED = re.compile(
    rb"(?:'(?:\\.|[^'\\])*'|\"(?:\\.|[^\"\\])*\"|`[^`]*`)"
    rb"(?=[ \t\f\v]*(?:#[^\r\n]*)?(?:[\r\n]|\Z))",
    re.DOTALL,
)


def put(text: bytes, values: Mapping[str, str]) -> bytes:
    """The text with these variables set. `values`: finished, quoted if they need it.

    Wherever a variable is set it is set anew, so that neither the first nor the last line has the
    old value; one that is nowhere set comes at the end.
    """
    wanted = {name.encode(): value.encode() for name, value in values.items()}
    pieces, done, seen = [], 0, set[bytes]()
    for name, start, end in _values(text):
        if name in wanted:
            # A comment may touch quotes; what is not in quotes it would become a part of.
            apart = b" " if text.startswith(b"#", end) else b""
            pieces += [text[done:start], wanted[name], apart]
            done = end
            seen.add(name)
    pieces.append(text[done:])
    return _with_more(b"".join(pieces), {n: v for n, v in wanted.items() if n not in seen})


def _with_more(text: bytes, missing: Mapping[bytes, bytes]) -> bytes:
    """Lines at the end, ended as the first line is."""
    found = LINE_END.search(text)
    end = (found and found.group()) or b"\n"
    apart = end if missing and text and not text.endswith((b"\n", b"\r")) else b""
    return text + apart + b"".join(name + b"=" + value + end for name, value in missing.items())


def _values(text: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Name, and where its value begins and ends, for every line that sets one."""
    at = len(BYTE_ORDER_MARK) if text.startswith(BYTE_ORDER_MARK) else 0
    while at < len(text):
        found = SET.match(text, at)
        if found:
            start, at = _value(text, found.end())
            yield found["name"], start, at
        line_end = LINE_END.search(text, at)
        assert line_end
        at = line_end.end()


def _value(text: bytes, at: int) -> tuple[int, int]:
    """The value after the `=` that ends at `at`, without blanks and comment round it."""
    blanks = BLANKS.match(text, at)
    assert blanks
    start = blanks.end()
    if start > at and text.startswith(b"#", start):
        return at, at
    quoted = QUOTED.match(text, start)
    if quoted:
        return start, quoted.end()
    line_end = LINE_END.search(text, start)
    assert line_end
    comment = COMMENT.search(text, start, line_end.start())
    end = comment.start() if comment else line_end.start()
    return start, start + len(text[start:end].rstrip(b" \t\f\v"))
