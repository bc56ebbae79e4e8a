"""A life recorded call by call, with what was so outside at which of them: from this the folder can
be rebuilt as a power cut at any of them may leave it, and what is around it as it was then.
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tests.disk import stories
from tests.disk.calls import Call
from tests.disk.faults import ONCE, Fault
from tests.disk.faults import Disk as Faulty
from tests.disk.images import Deaf, Disk, hears, played
from tests.disk.stories import Story


@dataclass(slots=True)
class Recording:
    """All calls of a life, and what was so at which of them."""

    story: Story
    folder: Path  # where it was lived
    name: str  # of the story, and of the fsync that failed, if one did
    calls: list[Call] = field(default_factory=list)
    marks: list[tuple[int, bytes]] = field(default_factory=list)  # after so many calls
    deaf: Deaf = hears
    first: int = 1  # the call after which there is something to see

    def house(self, upto: int) -> bytes:
        """As it was after so many calls, put away."""
        before = [mark for at, mark in self.marks if at <= upto]
        return before[-1] if before else self.story.house

    def image(self, upto: int, seed: int) -> dict[str, bytes]:
        disk = played(Disk(self.folder, self.story.folder, self.deaf), self.calls, upto)
        return disk.image(random.Random(f"{self.name} {upto} {seed}"))


def recorded(
    story: Story, folder: Path, fault: Fault | None = None, deaf: Deaf = hears
) -> Recording:
    """Live it, with one fsync that fails, if so asked."""
    name = f"{story.name}~{fault.nth}" if fault else story.name
    made = Recording(story, folder, name, deaf=deaf, first=fault.nth if fault else 1)
    faulty, marks = Faulty(fault), os.memfd_create("marks")

    def done(call: Call) -> None:
        if call.file == marks:
            made.marks.append((len(made.calls), call.data))
        else:
            made.calls.append(call)

    try:
        ended = stories.lived(story.told_again(folder), faulty.fate, done, marks=marks)
    finally:
        os.close(marks)
    assert not ended.broken, f"{name}: {ended.broken}"
    return made


def fsyncs(recording: Recording) -> Iterator[Fault]:
    for nth, call in enumerate(recording.calls, start=1):
        if call.what in ("fsync", "fdatasync"):
            yield Fault(recording.story.name, nth, "EIO", ONCE)
