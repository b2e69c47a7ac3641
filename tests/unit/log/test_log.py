"""Logs are one line per event on stderr."""

from collections.abc import Iterator

import pytest
import structlog

from boardwright import log
from boardwright.errors import UsageError


@pytest.fixture(autouse=True)
def _unconfigured() -> Iterator[None]:
    yield
    structlog.reset_defaults()  # the captured stderr is gone after the test


def test_an_event_is_one_line_with_utc_time_level_program_and_pairs(capsys: pytest.CaptureFixture[str]) -> None:
    log.configure("boardwright-agent", "info")
    log.get("agent").info("took an offer", server="c1s1", why='it "is"\nnear', load=0.250, reason=None)
    out, err = capsys.readouterr()
    assert out == ""
    time, _, rest = err.partition(" ")
    assert time.endswith("Z")
    expected = (
        'info boardwright-agent "took an offer" at=agent server=c1s1 why="it \\"is\\"\\nnear" load=0.25 reason=-\n'
    )
    assert rest == expected


def test_events_below_the_level_are_dropped(capsys: pytest.CaptureFixture[str]) -> None:
    log.configure("x", "warning")
    log.get("agent").info("chatter")
    assert capsys.readouterr().err == ""


def test_what_a_peer_sends_cannot_forge_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    log.configure("x", "info")
    log.get("net").info("dropped", peer="a\n2026 info x root logged in\x1b[2J\u2028")
    assert capsys.readouterr().err.count("\n") == 1


def test_an_exception_stays_on_its_line(capsys: pytest.CaptureFixture[str]) -> None:
    log.configure("x", "info")
    try:
        raise ValueError("no")
    except ValueError:
        log.get("agent").exception("failed")
    line = capsys.readouterr().err
    assert line.count("\n") == 1
    assert "ValueError: no" in line


def test_a_logger_made_before_the_configuration_obeys_it(capsys: pytest.CaptureFixture[str]) -> None:
    early = log.get("early")
    log.configure("boardwright-server", "debug")
    early.debug("hello")
    assert "boardwright-server hello at=early" in capsys.readouterr().err


def test_an_unknown_level_is_refused() -> None:
    with pytest.raises(UsageError, match="'loud' is not a log level"):
        log.configure("x", "loud")
