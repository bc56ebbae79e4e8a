"""Which code is mutated, and the tests that must notice. Plain values.

Tests here run inside one process and take seconds at most: those of the room, and of the simulator
and the search through every state a slice. What starts processes of its own can't see a mutant.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True, slots=True)
class Room:
    name: str
    what: str
    files: tuple[str, ...]  #: patterns below keyman/
    tests: tuple[str, ...]  #: arguments for pytest
    slower: tuple[str, ...] = ()  #: as well, unless asked to be quick

    def paths(self) -> list[Path]:
        return [path for one in self.files for path in sorted((ROOT / "keyman").glob(one))]


ROOMS = (
    Room(
        "core",
        "what is decided",
        (
            "core/rotation.py",
            "core/situation.py",
            "core/transitions.py",
            "core/health.py",
            "core/model.py",
            "core/policy.py",
            "core/picture.py",
            "core/restoring.py",
            "core/copies.py",
            "core/entrusting.py",
            "core/orders.py",
            "core/pruning.py",
            "core/frozen.py",
            "core/inventory.py",
            "core/news.py",
            "core/outlook.py",
            "core/plan.py",
        ),
        (
            "tests/test_rotation.py",
            "tests/test_rules.py",
            "tests/test_situation.py",
            "tests/test_transitions.py",
            "tests/test_health.py",
            "tests/test_orders.py",
            "tests/test_orders_told.py",
            "tests/test_policy.py",
            "tests/test_restoring.py",
            "tests/test_suspects.py",
            "tests/test_copies.py",
            "tests/test_entrusting.py",
            "tests/test_news.py",
            "tests/test_outlook.py",
            "tests/test_picture.py",
            "tests/test_plan.py",
            "tests/test_statuses.py",
            "tests/test_inventory.py",
            "tests/test_history_table.py",
            "tests/test_whereabouts.py",
            "tests/test_seen.py",
            "tests/test_pruning.py",
            "tests/test_frozen.py",
            "--deselect=tests/test_picture.py::test_the_sheet_grows_with_what_is_on_it",
        ),
        (
            "tests/test_foretold.py",
            "tests/test_every_state.py::test_nothing_breaks_in_any_state_of_one_rotation",
        ),
    ),
    Room(
        "stores",
        "where secrets rest, and the crypto around them",
        (
            "stores/seals.py",
            "stores/sealed_file.py",
            "housekeeping/backup_file.py",
            "stores/sealing_key.py",
            "stores/private_file.py",
            "stores/limits.py",
            "stores/memory.py",
            "stores/__init__.py",
        ),
        (
            "tests/contract/test_formats.py",
            "tests/contract/test_store.py",
            "tests/contract/test_store_sealed_file.py",
            "tests/contract/test_store_key.py",
            "tests/test_backup_file.py",
            "tests/test_private_file.py",
            "tests/test_kinds_of_store.py",
            "-k=not vault and not aws and not keyring",
        ),
        ("tests/test_tampering.py",),
    ),
    Room(
        "keyring",
        "the system's keyring as a store",
        ("stores/os_keyring.py",),
        ("tests/contract/test_store_keyring.py", "tests/contract/test_store.py", "-k=keyring"),
    ),
    Room(
        "grants",
        "who may do what",
        (
            "serving/doors.py",
            "serving/local.py",
            "serving/remote.py",
            "serving/crowd.py",
            "db/clients.py",
            "register.py",
        ),
        (
            "tests/serving/test_doors.py",
            "tests/serving/test_callers.py",
            "tests/contract/test_clients.py",
        ),
        ("tests/serving/test_taken.py", "tests/serving/test_tcp.py", "tests/serving/test_api.py"),
    ),
)
