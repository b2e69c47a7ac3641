"""What stands in a manifest and is neither a file nor a blob: globs, requirements, units, addresses, seconds.

Rules:

* A manifest may come from a stranger: every list, every word and every number has a bound, and nothing can be taken
  for an option of a program that it is given to.
* Checks raise MalformedError with the field and the beginning of the value.
"""

import re
from collections.abc import Sequence

from boardwright.errors import MalformedError, UsageError
from boardwright.model.requirement import parse_requirement

MAX_WORDS = 64  # board types, hooks, units, words of a command: more than any version has
MAX_WORD = 4096  # bytes of one of them; a command line or a path, not a document
MAX_SECONDS = 3600.0  # of a hook or a health check; longer means that nobody is waiting for it
_TYPE = re.compile(r"[A-Za-z0-9._+~*?\[\]!-]{1,128}")  # the characters of a name, and those of a glob
_UNIT = re.compile(r"[A-Za-z0-9_][A-Za-z0-9:_.\\@-]{0,255}")  # systemd.unit(5); no option of systemctl
_URL = re.compile(r"https?://[^/\s\x00-\x1f]+[^\s\x00-\x1f]*")
_TCP = re.compile(r"[^\s\x00-\x1f]+:\d{1,5}", re.ASCII)


def is_board_type(text: str) -> bool:
    """Whether a board type could match this glob, and it can name a variant."""
    return _TYPE.fullmatch(text) is not None


def is_url(text: str) -> bool:
    """Whether a health check can ask this URL."""
    return len(text) <= MAX_WORD and _URL.fullmatch(text) is not None


def is_tcp(text: str) -> bool:
    """Whether a health check can connect to this ``host:port``."""
    return len(text) <= MAX_WORD and _TCP.fullmatch(text) is not None and 0 < int(text.rpartition(":")[2]) <= 65535


def check_words(field: str, words: Sequence[str]) -> None:
    """Raise MalformedError for too many words, one that is too long or one with a zero byte."""
    if len(words) > MAX_WORDS:
        raise MalformedError(f"{field} has {len(words)} entries, more than {MAX_WORDS}")
    for word in words:
        if "\0" in word or len(word.encode(errors="replace")) > MAX_WORD:
            raise MalformedError(f"{field} {word[:80]!r} has a zero byte or more than {MAX_WORD} bytes")


def check_units(units: Sequence[str]) -> None:
    """Raise MalformedError for what is no name of a systemd unit."""
    check_words("restart", units)
    for unit in units:
        if not _UNIT.fullmatch(unit):
            raise MalformedError(f"restart {unit[:80]!r} is not a unit, e.g. frr.service")


def check_requirement(group: str, requirement: str) -> None:
    """Raise MalformedError for a requirement on `group` that cannot be read."""
    if len(requirement) > MAX_WORD:
        raise MalformedError(f"requirement {group!r} has {len(requirement)} characters, more than {MAX_WORD}")
    try:
        parse_requirement(requirement)
    except UsageError as error:
        raise MalformedError(f"requirement {group!r} {requirement[:200]!r} cannot be read") from error


def check_seconds(field: str, seconds: float) -> None:
    """Raise MalformedError unless it is a time that somebody waits for."""
    if not 0 < seconds <= MAX_SECONDS:  # NaN is neither
        raise MalformedError(f"{field} {seconds:g} is not more than 0 and at most {MAX_SECONDS:g} seconds")


def check_probes(http: str, tcp: str) -> None:
    """Raise MalformedError for a health check's address that is none; '' is no address to check."""
    if http and not is_url(http):
        raise MalformedError(f"health http {http[:200]!r} is not a URL")
    if tcp and not is_tcp(tcp):
        raise MalformedError(f"health tcp {tcp[:200]!r} is not host:port")
