"""Logs: one line per event on stderr, ``key=value`` pairs that people read and machines split (logfmt).

Rules:

* A line is ``2026-01-31T12:00:00.123Z level program event key=value ...``; values with spaces are quoted, so an
  event never spans lines. Times are UTC.
* ``configure`` is called once by each program before anything logs; ``get(name)`` may be called at import.
* The agent imports this: structlog costs it some 5 MiB resident, 3.5 of them because structlog loads rich where rich
  is installed; nothing heavier may come with it.
"""

import sys
from collections.abc import MutableMapping
from datetime import UTC, datetime
from typing import Any, cast

import structlog
from structlog.typing import FilteringBoundLogger

from boardwright.errors import UsageError

LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40}

__all__ = ["LEVELS", "FilteringBoundLogger", "configure", "get"]


def configure(program: str, level: str = "info") -> None:
    """Send events of `level` and above to stderr under the name of `program`; UsageError for an unknown level."""
    if level not in LEVELS:
        raise UsageError(f"{level!r} is not a log level", hint=f"levels are {', '.join(LEVELS)}")
    structlog.configure(
        processors=[structlog.processors.format_exc_info, _Line(program)],
        wrapper_class=structlog.make_filtering_bound_logger(LEVELS[level]),
        logger_factory=structlog.WriteLoggerFactory(file=sys.stderr),
        cache_logger_on_first_use=False,  # loggers made at import must see this configuration
    )


def get(name: str) -> FilteringBoundLogger:
    """The logger of a room or module; `name` stands in every line as ``at=name``."""
    return cast(FilteringBoundLogger, structlog.get_logger(at=name))


class _Line:
    """Renders an event as one line."""

    def __init__(self, program: str) -> None:
        self._program = program

    def __call__(self, _logger: object, method: str, event: MutableMapping[str, Any]) -> str:
        now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        words = [now, method, self._program, _quoted(event.pop("event", ""))]
        words += [f"{key}={_quoted(value)}" for key, value in event.items()]
        return " ".join(words)


def _quoted(value: object) -> str:
    """`value` as one word: quoted and escaped where it has spaces, quotes, = or anything unprintable."""
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.3f}".rstrip("0").rstrip(".")
    if isinstance(value, bytes):
        return value.hex()
    text = str(value)
    if text and text.isprintable() and not any(mark in text for mark in ' "=\\'):
        return text
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + "".join(mark if mark.isprintable() else _escape(mark) for mark in escaped) + '"'


def _escape(mark: str) -> str:
    return {"\n": "\\n", "\t": "\\t", "\r": "\\r"}.get(mark, f"\\u{ord(mark):04x}")
