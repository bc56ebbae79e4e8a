"""What keyman says of itself while it works: log lines, text or JSON, that never hold a secret.

Secrets are kept out of log calls where they are made; the filter here is the last resort behind
that, and tests treat its firing as a bug. Text from outside is escaped, so that a provider's
message can't drive somebody's terminal.
"""

from __future__ import annotations

import json
import logging
import re
import sys
import unicodedata
from datetime import UTC, datetime
from typing import TextIO

SECRET_SHAPES = re.compile(
    r"sk-[A-Za-z0-9_\-]{8,}"
    r"|ya29\.[A-Za-z0-9_\-.]+"
    r"|kmc_[A-Za-z0-9_\-]{8,}"
    r"|(?i:bearer\s+)[A-Za-z0-9_\-.~+/=]{8,}"
    r"|-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|$)",
    re.DOTALL,
)
# Controls, marks that turn or hide writing, halves of characters, what nobody agreed upon, and
# breaks.
ACTING = frozenset({"Cc", "Cf", "Co", "Cs", "Zl", "Zp"})
# What Unicode has drawn as nothing, whatever its category (Default_Ignorable_Code_Point): letters,
# marks that choose another form, and what is kept for more of them. The blank of Braille besides.
BLANK = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u2065\u2800\u3164\uffa0").union(
    *(
        map(chr, range(first, last + 1))
        for first, last in (
            (0x180B, 0x180F),
            (0xFE00, 0xFE0F),
            (0xFFF0, 0xFFF8),
            (0xE0000, 0xE0FFF),
        )
    )
)
STACKING = frozenset({"Mn", "Me"})  # marks that are put upon the letter before them
STACKED_AT_MOST = 3  # more of them reach into the lines above and below
# These print request headers or bodies when asked to be chatty.
QUIET = (
    *("alembic", "apscheduler", "asyncio", "boto3", "botocore", "google", "httpcore2", "httpx2"),
    *("oci", "urllib3"),
)


def escaped(text: str) -> str:
    """The text with everything made visible that a terminal would act on or not show."""
    if text.isascii() and text.isprintable():
        return text
    said: list[str] = []
    stacked = 0
    for c in text:
        kind = unicodedata.category(c)
        stacked = stacked + 1 if kind in STACKING else 0
        acts = kind in ACTING or c in BLANK or stacked > STACKED_AT_MOST
        said.append(f"\\x{ord(c):02x}" if acts else c)
    return "".join(said)


class Redaction(logging.Filter):
    """Masks whatever looks like a secret in a finished line; counts how often it had to."""

    fired = 0

    def filter(self, record: logging.LogRecord) -> bool:
        said = record.getMessage()
        masked = SECRET_SHAPES.sub("···", said)
        if masked != said:
            type(self).fired += 1
        record.msg, record.args = escaped(masked), ()
        return True


class JsonLines(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        at = datetime.fromtimestamp(record.created, UTC)
        line = {
            "at": at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info and record.exc_info[0]:
            line["error"] = record.exc_info[0].__name__
        return json.dumps(line, ensure_ascii=False)


class TextLines(logging.Formatter):
    """One line a record. A traceback would quote values, so an error is only named."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)-7s %(name)s: %(message)s")

    def format(self, record: logging.LogRecord) -> str:
        kind = record.exc_info[0] if record.exc_info else None
        record.exc_info, record.exc_text = None, None
        line = super().format(record)
        return f"{line} ({kind.__name__})" if kind else line


def start_logging(level: str = "info", form: str = "text", stream: TextIO | None = None) -> None:
    """Send all logging to one stream (standard error). Chatty libraries stay at warning."""
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JsonLines() if form == "json" else TextLines())
    handler.addFilter(Redaction())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    for name in QUIET:
        logging.getLogger(name).setLevel(max(logging.WARNING, logging.getLogger().level))
