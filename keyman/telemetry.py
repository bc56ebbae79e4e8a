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
# C0, C1, line and paragraph separators, and the marks that turn the direction of writing.
UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
# These print request headers or bodies when asked to be chatty.
QUIET = (
    *("alembic", "apscheduler", "asyncio", "boto3", "botocore", "google", "httpcore2", "httpx2"),
    *("oci", "urllib3"),
)


def escaped(text: str) -> str:
    """The text with everything that a terminal would act on made visible."""
    return UNPRINTABLE.sub(lambda found: f"\\x{ord(found.group()):02x}", text)


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
