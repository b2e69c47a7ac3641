"""What all tests share: in CI a test that skips itself for lack of root, multicast or etcd is a failure.

CI has them, so such a skip would silently drop a test. A test that needs one says so in the reason of its skip
("needs root", "needs multicast", "needs etcd").

The run ends with how many points the fault tests visited, summed over the processes that it is spread over.
"""

import os
import re
from collections import Counter
from collections.abc import Generator, Iterator
from typing import Any

import pytest
import structlog

pytest.register_assert_rewrite("tests.faults.checks")  # before anybody imports it

_NO_SKIP = os.environ.get("BOARDWRIGHT_NO_SKIP") == "1"
_NEEDS = re.compile(r"\b(root|multicast|etcd)\b", re.IGNORECASE)
_POINTS = "boardwright_points"  # what a worker process hands over at its end
_visited: Counter[str] = Counter()


@pytest.fixture
def points() -> Counter[str]:
    """Counts for the summary at the end of the run."""
    return _visited


def pytest_sessionfinish(session: pytest.Session) -> None:
    handed_over = getattr(session.config, "workeroutput", None)
    if handed_over is not None:
        handed_over[_POINTS] = dict(_visited)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any, error: object) -> None:
    _visited.update(getattr(node, "workeroutput", {}).get(_POINTS, {}))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    for what, count in sorted(_visited.items()):
        terminalreporter.write_line(f"faults: {count} {what}")


@pytest.fixture(autouse=True)
def _logs_of_a_program_end_with_its_test() -> Iterator[None]:
    """A program's ``main`` sends logs to the stderr of its test, which is closed after it."""
    yield
    if structlog.is_configured():
        structlog.reset_defaults()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if _NO_SKIP and report.skipped and not hasattr(report, "wasxfail"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        if _NEEDS.search(reason):
            report.outcome = "failed"
            report.longrepr = f"{item.nodeid} was skipped, which CI does not allow: {reason}"
    return report
