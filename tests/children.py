"""Child processes of tests, from a server that has everything imported: hundreds are affordable.

A process has one such server, whatever its tests want of it, so what any of them needs is imported
here; the last list that is set would count for all.
"""

from __future__ import annotations

import multiprocessing

from tests.commands.forked import modules

PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(
    [
        *modules(),
        *("boto3", "botocore.client", "h11", "hvac", "pytest"),
        *("tests.commands.killed", "tests.store_calls.killing", "tests.contract.journal_cases"),
        "tests.test_migrations",
    ]
)
