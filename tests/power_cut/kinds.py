"""Which kinds of lives there are, and what one of each is made of."""

from __future__ import annotations

import random
from pathlib import Path

from tests.power_cut.case import Case
from tests.power_cut.cloud import Cloud
from tests.power_cut.google_case import SOURCES, GoogleCase
from tests.power_cut.oci_case import OciCase
from tests.power_cut.openai_case import POLICIES, OpenaiCase
from tests.power_cut.static_case import StaticCase

KINDS = ("oci", "openai", "google", "static")
ALL = "all"  # of them at once, in one home


def by_seed(seed: int) -> str:
    """Neighbouring seeds are of different kinds; every kind meets calm people and others."""
    return (*KINDS, ALL)[seed % (len(KINDS) + 1)]


def open_case(kind: str, folder: Path, seed: int, dice: random.Random) -> Case:
    """A credential of that kind with a fresh cloud, which writes its files under the folder."""
    place = folder / kind
    if kind == "oci":
        return OciCase(Cloud(place, seed, *OciCase.arguments()))
    if kind == "openai":
        policy = dice.choice(POLICIES)
        return OpenaiCase(Cloud(place, seed, *OpenaiCase.arguments()), policy)
    if kind == "google":
        source = dice.choice(tuple(SOURCES))
        return GoogleCase(Cloud(place, seed, *GoogleCase.arguments()), source)
    probed = dice.random() < 0.7
    return StaticCase(Cloud(place, seed, *StaticCase.arguments()), probed=probed)
