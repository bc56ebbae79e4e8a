"""A timeline as an SVG picture: a track for each credential, its slots as lanes, versions as bars.

Pure: from times to text. Readable on light and on dark pages, and by those who tell no colours
apart: an overlap is hatched, and what is missing is written out.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from keyman.core.outlook import Trouble
from keyman.planning.rows import rhythm_text
from keyman.planning.svg import label, number, rect, sheet, short, text
from keyman.planning.timeline import Bar, Timeline, Track, ticks

WIDTH, LEFT, RIGHT = 1200, 236, 20
TOP, FOOT = 92, 34
LANE, BAR, NOTE, BETWEEN = 18, 14, 16, 12
LONGEST_NAME, LONGEST_NOTE, LONGEST_SLOT = 24, 130, 14
NOTES = 3  # troubles written out under a credential
DATES_EVERY = 900  # of height
CROWDED = 80  # rotations from which only their lines are drawn


def svg(line: Timeline) -> str:
    """The whole picture, as tall as its credentials need."""
    page = _Page(line)
    tracks = list(page.tracks())
    height = page.y + FOOT
    many = len(line.tracks)
    title = f"keyman plan: {many} credential{'' if many == 1 else 's'}"
    body = [*page.grid(height), *_header(line, title), *tracks, page.now_line(height)]
    return sheet(WIDTH, height, title, body)


def _header(line: Timeline, title: str) -> Iterator[str]:
    span = f"{line.now:%Y-%m-%d %H:%MZ} to {line.ends:%Y-%m-%d %H:%MZ}"
    yield label("t", 16, 28, title)
    yield label("m", 16, 46, f"{span}, if every step goes well")
    yield from _legend(LEFT + 170, 19)


def _legend(x: int, y: int) -> Iterator[str]:
    """What the marks mean, in the order in which the eye meets them."""
    yield rect("a", x, x + 22, y, 11) + rect("b", x + 24, x + 46, y, 11)
    yield label("m", x + 52, y + 10, "handed out")
    x += 132
    yield f'<g class="a">{rect("o", x, x + 22, y, 11)}</g>' + rect("h", x, x + 22, y, 11)
    yield label("m", x + 28, y + 10, "overlap: works as well")
    x += 172
    yield f'<path class="k" d="M{x} {y + 1}h10l-5 8z"/>' + label("m", x + 16, y + 10, "rotation")
    x += 84
    yield f'<path class="now" d="M{x} {y - 3}v17"/>' + label("m", x + 8, y + 10, "now")
    x += 56
    yield rect("gap", x, x + 22, y, 11) + label("m", x + 28, y + 10, "no usable secret")


class _Page:
    """Goes down the sheet, one credential after the other; `y` is how far it got."""

    def __init__(self, line: Timeline) -> None:
        self.line = line
        self.y = TOP
        self._dated = [TOP]  # where dates are written

    def x(self, at: datetime) -> float:
        """Where a moment is, or the edge that is nearest to it."""
        whole = self.line.ends - self.line.begins
        share = min(1.0, max(0.0, (at - self.line.begins) / whole))
        return LEFT + share * (WIDTH - LEFT - RIGHT)

    def grid(self, height: int) -> Iterator[str]:
        """Lines through the whole sheet; their dates above, below, and now and then between."""
        marks = [(tick.label, self.x(tick.at)) for tick in ticks(self.line)]
        path = "".join(f"M{number(x)} {TOP - 8}V{height - FOOT}" for _, x in marks)
        yield f'<path class="grid" d="{path}"/>'
        for y in (*self._dated, height - FOOT + 28):
            yield from (label("d", x, y - 14, said) for said, x in marks if _has_room(x))

    def now_line(self, height: int) -> str:
        x = number(self.x(self.line.now))
        return f'<path class="now" d="M{x} {TOP - 8}V{height - FOOT}"/>'

    def tracks(self) -> Iterator[str]:
        for track in self.line.tracks:
            if self.y - self._dated[-1] > DATES_EVERY:
                self.y += 26
                self._dated.append(self.y)
            yield from self._track(track)

    def _track(self, track: Track) -> Iterator[str]:
        top, bottom = self.y, self.y + len(track.lanes) * LANE - (LANE - BAR)
        yield label("n", 16, top + 11, short(track.name, LONGEST_NAME))
        yield label("m", 16, top + 26, short(track.provider, LONGEST_NAME))
        for place, name in enumerate(track.lanes):
            yield from self._lane(top + place * LANE, name)
        for trouble in track.troubles:
            yield from self._gap(trouble, top, bottom)
        yield from self._rhythm(track, top) if track.rhythm else self._bars(track, top)
        yield from self._promotions(track, top, bottom)
        yield from self._notes(track, bottom)

    def _lane(self, y: int, name: str) -> Iterator[str]:
        yield rect("lane", LEFT, WIDTH - RIGHT, y, BAR)
        if name:
            yield label("m s", LEFT - 8, y + 11, short(name, LONGEST_SLOT))

    def _bars(self, track: Track, top: int) -> Iterator[str]:
        for bar in track.bars:
            yield from self._bar(track, bar, top + bar.lane * LANE)

    def _bar(self, track: Track, bar: Bar, y: int) -> Iterator[str]:
        begins, replaced, ends = (self.x(at) for at in (bar.begins, bar.replaced, bar.ends))
        said = f"{track.name} version {bar.version}{_where(track, bar)}: {_dates(bar)}"
        yield f'<g class="{"ab"[bar.lane % 2]}"><title>{text(said)}</title>'
        if ends > replaced:
            yield rect("o", replaced, ends, y, BAR) + rect("h", replaced, ends, y, BAR)
        yield rect("", begins, max(replaced, begins + 1), y, BAR) + "</g>"
        if replaced - begins > 12 + 7 * len(str(bar.version)):
            yield label("v", begins + 5, y + 11, f"v{bar.version}")

    def _rhythm(self, track: Track, top: int) -> Iterator[str]:
        """Too many to draw: one striped bar that says how often."""
        assert track.rhythm
        begins, ends = self.x(self.line.now), self.x(self.line.ends)
        said = text(f"a new token {rhythm_text(track.rhythm)}")
        wide = 6.2 * len(said) + 12
        yield f'<g class="a"><title>{text(track.name)}: {said}</title>'
        yield rect("", begins, ends, top, BAR) + "</g>" + rect("r", begins + wide, ends, top, BAR)
        yield label("v", begins + 5, top + 11, said)

    def _promotions(self, track: Track, top: int, bottom: int) -> Iterator[str]:
        if not track.promotions:
            return
        places = [self.x(at) for at in track.promotions]
        lines = "".join(f"M{number(x)} {top - 2}V{bottom}" for x in places)
        yield f'<path class="p" d="{lines}"/>'
        if len(places) <= CROWDED:
            marks = "".join(f"M{number(x - 4)} {top - 7}h8l-4 6z" for x in places)
            yield f'<path class="k" d="{marks}"/>'

    def _gap(self, trouble: Trouble, top: int, bottom: int) -> Iterator[str]:
        if trouble.gap:
            begins, ends = self.x(trouble.at), self.x(trouble.until or self.line.ends)
            yield rect("gap", begins, max(begins + 3, ends), top, bottom - top)

    def _notes(self, track: Track, bottom: int) -> Iterator[str]:
        """What is wrong is written out: nobody has to guess it from a colour."""
        told = [_note(trouble) for trouble in track.troubles[:NOTES]]
        more = len(track.troubles) - len(told)
        told += [f"and {more} more"] if more else []
        left = self.x(self.line.now) + 6
        for place, said in enumerate(told, start=1):
            yield label("w", left, bottom + place * NOTE - 3, short(said, LONGEST_NOTE))
        least = LANE if len(track.lanes) == 1 else 0
        self.y = bottom + max(least, len(told) * NOTE) + BETWEEN


def _note(trouble: Trouble) -> str:
    until = f" to {trouble.until:%Y-%m-%d %H:%MZ}" if trouble.until else ""
    return f"! {trouble.at:%Y-%m-%d %H:%MZ}{until}: {trouble.what}"


def _where(track: Track, bar: Bar) -> str:
    return f" in {track.lanes[bar.lane]}" if track.lanes[bar.lane] else ""


def _dates(bar: Bar) -> str:
    ends = "beyond" if bar.goes_on else f"{bar.ends:%Y-%m-%d %H:%MZ}"
    overlap = f", replaced {bar.replaced:%Y-%m-%d %H:%MZ}" if bar.replaced < bar.ends else ""
    return f"{bar.begins:%Y-%m-%d %H:%MZ} to {ends}{overlap}"


def _has_room(x: float) -> bool:
    """Away from the edges, so that no date is cut."""
    return LEFT + 10 < x < WIDTH - RIGHT - 10
