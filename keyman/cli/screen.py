"""A screen that is drawn again and again: the alternate one of a terminal, left as it was found.

However it ends (q, Ctrl-C, a signal to end, an error) the terminal gets back its cursor, its modes
and what was on it before; Ctrl-Z gives it back meanwhile. Knows nothing of what is drawn.
"""

from __future__ import annotations

import os
import select
import signal
import sys
import termios
import tty
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import FrameType

from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from keyman.cli import terminal
from keyman.cli.screen_bars import glyphs_for
from keyman.cli.screen_layout import Room
from keyman.clock import SystemClock

NOTICES_WITHIN = 0.2  # seconds: a key, another size, a wish to stop
QUIT = ("q", "Q")
ENDINGS = (signal.SIGTERM, signal.SIGHUP)
CLOCK = SystemClock()

Draw = Callable[[Room], Sequence[Text]]


def on_a_terminal() -> bool:
    """Is there a screen to draw on?"""
    return sys.stdout.isatty() and os.environ.get("TERM") not in (None, "", "dumb")


def room() -> Room:
    """The whole screen, for what is drawn again and again."""
    width, height = _console().size
    keys = "q quits" if sys.stdin.isatty() else "Ctrl-C quits"
    return Room(width, height, glyphs_for(sys.stdout.encoding), keys)


def page() -> Room:
    """A screen less the line that the next prompt takes, for what is printed once."""
    whole = room()
    return Room(whole.width, max(3, (whole.height or 3) - 1), whole.glyphs)


def print_lines(lines: Sequence[Text]) -> None:
    console = _console()
    for line in lines:
        line.rstrip()
        console.print(line, soft_wrap=True)


def _console() -> Console:
    colour = terminal.colour_wanted(sys.stdout)
    return Console(color_system="auto" if colour else None, highlight=False)


@contextmanager
def opened() -> Iterator[Screen]:
    """A screen to draw on, until the end of the block."""
    keyboard = _Keyboard()
    screen = Screen(keyboard)
    with keyboard.at_once(), _signals(screen), screen.live:
        yield screen


class Screen:
    """`show` draws; `rest` waits for the next look, and says whether there is to be one."""

    def __init__(self, keyboard: _Keyboard) -> None:
        self.live = Live(
            console=_console(),
            screen=True,
            auto_refresh=False,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        self._keyboard = keyboard
        self._draw: Draw = lambda _: ()
        self._size = (0, 0)
        self._to_stop = False

    def show(self, draw: Draw) -> None:
        self._draw = draw
        self._paint()

    def rest(self, seconds: float) -> bool:
        """False if somebody typed q. Draws anew when the terminal's size changes."""
        until = CLOCK.monotonic() + seconds
        while CLOCK.monotonic() < until:
            if self._keyboard.typed(NOTICES_WITHIN) in QUIT:
                return False
            if self._to_stop:
                self._stand_aside()
            if os.get_terminal_size(sys.stdout.fileno()) != self._size:
                self._paint()
        return True

    def wishes_to_stop(self, *_: object) -> None:
        """A signal says so; it is seen to at the next moment that is good for it."""
        self._to_stop = True

    def _paint(self) -> None:
        self._size = os.get_terminal_size(sys.stdout.fileno())
        self.live.update(Group(*self._draw(room())), refresh=True)

    def _stand_aside(self) -> None:
        """Ctrl-Z: the shell has its terminal until `fg`."""
        self._to_stop = False
        self.live.stop()
        with self._keyboard.as_before():
            os.kill(os.getpid(), signal.SIGSTOP)
        self.live.start()
        self._paint()


@contextmanager
def _signals(screen: Screen) -> Iterator[None]:
    """A wish to end unwinds the stack like any other end; a wish to stop waits for its moment."""
    before = {number: signal.signal(number, _end) for number in ENDINGS}
    before[signal.SIGTSTP] = signal.signal(signal.SIGTSTP, screen.wishes_to_stop)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _end(number: int, _: FrameType | None) -> None:
    raise SystemExit(128 + number)


class _Keyboard:
    """Keys without Enter, where there are any to press."""

    def __init__(self) -> None:
        self._there = sys.stdin is not None and sys.stdin.isatty()
        self._number = sys.stdin.fileno() if self._there else -1
        self._before = termios.tcgetattr(self._number) if self._there else []

    @contextmanager
    def at_once(self) -> Iterator[None]:
        try:
            self._quietly()
            yield
        finally:
            self._restore()

    @contextmanager
    def as_before(self) -> Iterator[None]:
        self._restore()
        yield
        self._quietly()

    def typed(self, within: float) -> str:
        """The key that was pressed, or nothing in so many seconds."""
        if not self._there:
            CLOCK.sleep(within)
            return ""
        ready, _, _ = select.select([self._number], [], [], within)
        pressed = os.read(self._number, 1) if ready else b""
        if ready and not pressed:  # the other end is gone
            CLOCK.sleep(within)
        return pressed.decode(errors="replace")

    def _quietly(self) -> None:
        if self._there:
            tty.setcbreak(self._number)

    def _restore(self) -> None:
        if self._there:
            termios.tcsetattr(self._number, termios.TCSADRAIN, self._before)
