"""The Range header (RFC 9110 section 14), as far as one range of bytes goes.

Whatever is not one well-formed range of bytes is ignored, as section 14.2 allows: the answer is the whole.
"""

import re
from typing import NamedTuple

_RANGE = re.compile(r"bytes=\s*(\d{0,19})\s*-\s*(\d{0,19})\s*", re.ASCII)


class Span(NamedTuple):
    """Bytes `start` to before `end`."""

    start: int
    end: int


class Unsatisfiable(NamedTuple):
    """A range that lies behind the end: answered with 416."""


def parse_range(header: str | None, size: int, most: int) -> Span | Unsatisfiable | None:
    """The span asked for of `size` bytes, at most `most` long; None: no range, send everything."""
    match = _RANGE.fullmatch(header.strip()) if header else None
    if match is None or not (match[1] or match[2]):
        return None
    if not match[1]:
        suffix = int(match[2])
        if not suffix or not size:
            return Unsatisfiable()
        start, last = max(0, size - suffix), size - 1
    else:
        start = int(match[1])
        last = min(int(match[2]), size - 1) if match[2] else size - 1
        if match[2] and int(match[2]) < start:
            return None
        if start >= size:
            return Unsatisfiable()
    return Span(start, min(last + 1, start + most))
