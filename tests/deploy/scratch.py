"""The Dockerfile carried out without an engine: each of its steps, in boxes instead of layers.

In place of the base image stand this machine's programs and Python. Packages are fetched by pip, as
this machine is set up for that.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.commands.world import ROOT
from tests.deploy.box import PATH, Box, boxed
from tests.deploy.dockerfile import Stage, stages
from tests.deploy.dockerignore import context

STEP_WITHIN = 900.0  # seconds
LIKE_THE_BASE = """\
rm -rf /opt/keyman && mkdir /srv/upper /srv/work
mount -t tmpfs scratch /mnt && mkdir /mnt/upper /mnt/work
mount -t overlay overlay -o lowerdir=/opt/python,upperdir=/mnt/upper,workdir=/mnt/work /usr/local
ln -sf python3.11 /usr/local/bin/python && python -m ensurepip
umount -l /opt/packages && echo > /etc/ld.so.conf.d/000-python.conf && ldconfig
"""


@dataclass
class Built:
    box: Box
    stage: Stage
    folder: str = "/"
    variables: dict[str, str] = field(default_factory=dict)

    def sh(self, line: str) -> None:
        told = {name: value for name, value in os.environ.items() if name.startswith("PIP_")}
        told |= {"PATH": f"/usr/local/bin:{PATH}", "HOME": "/root", **self.variables}
        ran = self.box.run(
            "sh", "-ec", f"cd {self.folder}\n{line}", within=STEP_WITHIN, environ=told
        )
        assert ran.status == 0, f"{line}\n{ran.out[-2000:]}\n{ran.err[-4000:]}"

    def copy(self, rest: str, stages_before: dict[str, Box]) -> None:
        words = [self.filled(word) for word in rest.split()]
        source = stages_before.get(words[0].removeprefix("--from="))
        where = Path(self.folder, words[-1])
        if source is not None:
            there = source.path(words[1])
            self.sh(f"mkdir -p {where}")
            shutil.copytree(there, self.box.path(str(where)), symlinks=True, dirs_exist_ok=True)
        for path in () if source else context(ROOT):
            if words[0] in (".", path):
                to = self.box.path(str(where / path if words[0] == "." else where))
                to.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(ROOT / path, to)

    def filled(self, text: str) -> str:
        return re.sub(r"\$\{(\w+)\}", lambda found: self.variables[found[1]], text)


@contextmanager
def scratch_image() -> Iterator[Box]:
    """What the last stage comes to."""
    with ExitStack() as open_boxes:
        done: dict[str, Box] = {}
        for stage in stages(ROOT / "Dockerfile"):
            one = Built(open_boxes.enter_context(boxed()), stage)
            one.sh(LIKE_THE_BASE)
            done[stage.name] = one.box
            for word, rest in stage.steps:
                step(one, word, rest, done)
        yield done[""]


def step(one: Built, word: str, rest: str, done: dict[str, Box]) -> None:
    if word in ("ARG", "ENV"):
        one.variables |= dict(each.split("=", 1) for each in rest.split())
    elif word == "WORKDIR":
        one.sh(f"mkdir -p {rest}")
        one.folder = rest
    elif word == "COPY":
        one.copy(rest, done)
    elif word == "RUN":
        one.sh(rest)
