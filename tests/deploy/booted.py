"""A machine with systemd as its process 1, inside of this one: what units do, they do there.

It knows no unit but those that a test gives it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from tests.commands.world import GENEROUS, Done, until
from tests.deploy.box import PATH, Box, boxed
from tests.recipes.program import here

UNITS = "/etc/systemd/system:/run/units"
SYSTEMD = "/lib/systemd/systemd"
BOOTS = f"""\
rm -rf etc/systemd/system && mkdir etc/systemd/system
for each in basic multi-user network-online shutdown sysinit; do
  printf '[Unit]\\nDefaultDependencies=no\\n' > run/units/$each.target
done
exec env -i container=other PATH={PATH} SYSTEMD_UNIT_PATH={UNITS} SYSTEMD_LOG_TARGET=null \\
  {SYSTEMD} --system --unit=multi-user.target --show-status=no
"""


class Machine(Box):
    def run(
        self,
        *command: str,
        uid: int = 0,
        within: float = GENEROUS,
        environ: Mapping[str, str] | None = None,
    ) -> Done:
        """Whoever asks systemd finds the same units as it does itself."""
        finds = {"SYSTEMD_UNIT_PATH": UNITS, **(environ or {})}
        return super().run(*command, uid=uid, within=within, environ=finds)

    def systemctl(self, *words: str) -> Done:
        return self.run("systemctl", *words)

    def shows(self, unit: str, name: str) -> str:
        """What systemd says of a unit under that name."""
        return self.done("systemctl", "show", "--value", "-p", name, unit)


@contextmanager
def booted() -> Iterator[Machine]:
    """Until the end of the block. Skips where no such machine can be had."""
    here("systemd", Path(SYSTEMD).exists(), "apt-get install systemd")
    with boxed(BOOTS) as box:
        until(lambda: box.path("/run/systemd/private").exists(), box.log.read_text)
        yield Machine(box.pid, box.log)
