"""Fuzzing: python -m tests.fuzz [--inputs 100000] [--seed S] [--workers N] [--replay P/N]

Every parser that reads what others wrote is given so many inputs, each made from a right one by a
few seeded changes: names, spans, moments, addresses, client tokens, values and files of `.env`, the
configuration, keys and costs of the sealed file, the header and the contents of a backup, the page
that clients map, the history's judge and its log, answers of OCI, OpenAI and Google, and raw bytes
for the agent's HTTP over its socket.

Judged: nothing but the errors a parser declares; none repeats a secret; none takes longer than two
seconds; what was read means the same when it is written again; python-dotenv finds the very value
in a `.env`; the agent answers with no 5xx, gives nobody a secret without a token, and goes on.

Not tried: parsers of libraries by themselves (SQLite, YAML, JSON, TLS), coverage as a guide.
"""

from __future__ import annotations

import argparse
import logging
import multiprocessing
import sys
import time
from collections import Counter
from typing import NamedTuple

from tests.fuzz import agent, answers, files, words
from tests.fuzz.parser import Parser
from tests.proof.report import conclude

PARSERS = {
    one.name: one for one in (*words.PARSERS, *files.PARSERS, *answers.PARSERS, *agent.PARSERS)
}
CHUNK = 5_000
TOO_LONG = 2.0  # seconds of this thread's own time
TOLD = 5  # broken inputs of a parser that are printed


class Task(NamedTuple):
    parser: str
    begin: int
    end: int
    seed: int


class Broken(NamedTuple):
    number: int
    what: str


def run(task: Task, parser: Parser | None = None) -> tuple[Task, list[Broken]]:
    """Inputs of these numbers, for that parser or the one of that name."""
    parser, broken = parser or PARSERS[task.parser], list[Broken]()
    with parser.open() as attempt:
        for number in range(task.begin, task.end):
            data, began = parser.make(task.seed, number), time.thread_time()
            try:
                attempt(data)
            except Exception as error:  # noqa: BLE001 (that is what is looked for)
                broken.append(Broken(number, f"{type(error).__name__}: {error}"[:300]))
            if time.thread_time() - began > TOO_LONG:
                broken.append(Broken(number, "it takes too long"))
    return task, broken


def tasks(names: list[str], inputs: int, seed: int) -> list[Task]:
    made = []
    for name in names:
        made += [Task(name, at, min(at + CHUNK, inputs), seed) for at in range(0, inputs, CHUNK)]
    return made


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz")
    parser.add_argument("--inputs", type=int, default=100_000, help="for each parser")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--only", nargs="+", choices=list(PARSERS), metavar="PARSER")
    parser.add_argument("--replay", metavar="PARSER/NUMBER")
    asked = parser.parse_args()
    began, tried, broken = time.monotonic(), Counter[str](), Counter[str]()
    if asked.replay:
        name, _, number = asked.replay.rpartition("/")
        return _replay(name, int(number), asked.seed)
    chosen = tasks(asked.only or list(PARSERS), asked.inputs, asked.seed)
    with multiprocessing.Pool(asked.workers, logging.disable) as pool:
        for task, found in pool.imap_unordered(run, chosen):
            tried[task.parser] += task.end - task.begin
            for number, what in found[: max(0, TOLD - broken[task.parser])]:
                words_ = f"--seed {task.seed} --replay '{task.parser}/{number}'"
                print(
                    f"BROKEN {task.parser}: {what}\n   PYTHONPATH=. python -m tests.fuzz {words_}"
                )
            broken[task.parser] += len(found)
    for name, many in tried.items():
        print(f"{many:9,} {name}")
    figures = {"fuzzed inputs": tried.total(), "parsers": len(tried)}
    return conclude(figures, broken.total(), began)


def _replay(name: str, number: int, seed: int) -> int:
    print(PARSERS[name].make(seed, number))
    _, broken = run(Task(name, number, number + 1, seed))
    print(*(one.what for one in broken), sep="\n")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
