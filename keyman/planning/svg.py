"""The alphabet of our pictures: escaped text, short numbers, the sheet with its colours.

Pure. Whatever text comes in is escaped twice over: what would steer a terminal or turn the way of
writing is made visible, and what XML would read is quoted. No script, no font, nothing fetched.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from xml.sax.saxutils import escape

from keyman.telemetry import escaped

NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
# a and b: the colours of lanes; o, h: an overlap; r: a rhythm; d, s, v: text at its middle, at its
# end, on a bar.
LIGHT = """\
text{font:12px system-ui,-apple-system,"Segoe UI",Roboto,"DejaVu Sans",sans-serif;fill:#1f2328}
.bg{fill:#fff}.t{font-size:17px;font-weight:600}.n{font-weight:600}.m,.d{fill:#59636e;font-size:11px}
.d{text-anchor:middle}.s{text-anchor:end}.v{fill:#fff;font-size:10px;font-weight:600}
.lane{fill:#f0f3f6}.grid{stroke:#d1d9e0}.now{stroke:#1f2328;stroke-dasharray:3 3}
.a{fill:#0b62c4}.b{fill:#0f766e}.o{opacity:.45}.h{fill:url(#h)}.r{fill:url(#r)}.line{stroke:#fff}
.p{stroke:#1f2328}.k{fill:#1f2328}.gap{fill:#cf222e;opacity:.3}.w{fill:#cf222e}
"""
DARK = """\
text{fill:#e6edf3}.bg{fill:#0d1117}.m,.d{fill:#9198a1}.v{fill:#0d1117}.lane{fill:#1c2330}
.grid{stroke:#3d444d}.now,.p{stroke:#e6edf3}.k{fill:#e6edf3}.a{fill:#58a6ff}.b{fill:#2dd4bf}
.line{stroke:#0d1117}.gap,.w{fill:#ff7b72}
"""
PATTERN = '<pattern id="{}" width="6" height="6" patternUnits="userSpaceOnUse"{}>{}</pattern>'
TURNED = ' patternTransform="rotate(45)"'
STROKE = '<path d="M0 0V6" class="line" stroke-width="{}"/>'


def sheet(width: int, height: int, title: str, body: Iterable[str]) -> str:
    """A whole picture, with its title for those who hear it."""
    size = f'width="{width}" height="{height}" viewBox="0 0 {width} {height}"'
    hatch, rhythm = PATTERN.format("h", TURNED, STROKE.format(4)), PATTERN.format("r", "", "{}")
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img" aria-labelledby="t">',
        f'<title id="t">{text(title)}</title>',
        f"<style>{LIGHT}@media (prefers-color-scheme:dark){{{DARK}}}</style>",
        f"<defs>{hatch}{rhythm.format(STROKE.format(1.5))}</defs>",
        f'<rect class="bg" width="{width}" height="{height}"/>',
        *body,
        "</svg>",
    ]
    return "\n".join(lines) + "\n"


def text(said: str) -> str:
    """As text between tags, harmless whoever wrote it."""
    return escape(NOT_XML.sub("\ufffd", escaped(said)))


def short(said: str, longest: int) -> str:
    return text(said if len(said) <= longest else f"{said[: longest - 1]}…")


def label(kind: str, x: float, y: float, said: str) -> str:
    """`said` must have been escaped."""
    return f'<text class="{kind}" x="{number(x)}" y="{number(y)}">{said}</text>'


def rect(kind: str, begins: float, ends: float, y: float, height: float) -> str:
    named = f' class="{kind}"' if kind else ""
    size = f'width="{number(ends - begins)}" height="{number(height)}"'
    return f'<rect{named} x="{number(begins)}" y="{number(y)}" {size}/>'


def number(value: float) -> str:
    """A coordinate, as short as it may be."""
    return f"{value:.1f}".removesuffix(".0")
