"""What every test may use, and the table of real servers at the end of a run."""

import signal
from collections.abc import Iterator
from typing import Any

import pytest

from tests import servers

LEFT_OUT = "takes long: make test QUICK="

_of_the_workers: dict[str, tuple[str, str]] = {}


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--quick", action="store_true", help="leave out what is marked as slow")


def pytest_configure() -> None:
    """In the background of a script Ctrl-C is ignored, and by all children too: not in tests."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("quick"):
        for item in items:
            if item.get_closest_marker("slow"):
                item.add_marker(pytest.mark.skip(reason=LEFT_OUT))


@pytest.fixture(scope="session")
def secret_service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """A real Secret Service of this worker's own; set the yielded variables to reach it."""
    with servers.secret_service(tmp_path_factory.mktemp("secret-service")) as env:
        yield env


def pytest_sessionfinish(session: pytest.Session) -> None:
    """A worker hands what it asked for to the process that writes the summary."""
    if (output := getattr(session.config, "workeroutput", None)) is not None:
        output["servers"] = servers.asked


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    _of_the_workers.update(getattr(node, "workeroutput", {}).get("servers", {}))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    terminalreporter.section("real servers")
    for line in servers.table(_of_the_workers | servers.asked):
        terminalreporter.write_line(line)
