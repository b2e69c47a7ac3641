"""Sizes, rates and durations as people write them.

Rules:

* A size is a number and a unit of bytes: ``B``, ``kB MB GB TB`` (powers of 1,000, as disks and links count) or
  ``KiB MiB GiB TiB`` (powers of 1,024). ``"50GB"``, ``"1.5 GiB"``; a bare number is bytes.
* A rate is a size per second, ``"20MB/s"`` (the ``/s`` may be left out), or bits: ``"100Mbit/s"``.
* ``Mb`` is refused: half of its readers mean bits and the other half bytes.
* A duration is a number and ``ms``, ``s``, ``min``, ``h`` or ``d``; a bare number is seconds.
* Nothing is negative; 0 means "no limit" where a limit is asked for.
"""

import re

from boardwright.errors import UsageError, shown

_BYTES = {
    "": 1,
    "B": 1,
    "K": 1000,
    "KB": 1000,
    "M": 1000**2,
    "MB": 1000**2,
    "G": 1000**3,
    "GB": 1000**3,
    "T": 1000**4,
    "TB": 1000**4,
    "KIB": 1024,
    "MIB": 1024**2,
    "GIB": 1024**3,
    "TIB": 1024**4,
}
_BITS = {"bit": 1, "kbit": 1000, "mbit": 1000**2, "gbit": 1000**3}
_SECONDS = {"": 1.0, "ms": 0.001, "s": 1.0, "min": 60.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_NUMBER = re.compile(r"(\d{1,18}(?:\.\d{1,9})?)\s*([A-Za-z]*)(/s)?", re.ASCII)
_MAX_BITS = 256  # of a bare number; more than any amount
_MAX_BYTES = 2**63 - 1  # what the operating system's offsets hold


def parse_size(value: object) -> int:
    """Bytes of ``"50GB"``, ``"1.5 GiB"`` or a bare number; raises UsageError."""
    return _bytes(value, "size", 'write a number and a unit, e.g. "50GB" or "4 GiB"; "0" is no limit', rate=False)


def parse_rate(value: object) -> int:
    """Bytes per second of ``"20MB/s"``, ``"100Mbit/s"`` or a bare number; raises UsageError."""
    return _bytes(value, "rate", 'write e.g. "20MB/s" or "100Mbit/s"; "0" is no limit', rate=True)


def parse_duration(value: object) -> float:
    """Seconds of ``"10s"``, ``"5min"``, ``"1h"`` or a bare number; raises UsageError."""
    hint = 'write a number and ms, s, min, h or d, e.g. "5min"'
    number, unit, per_second = _split(value, "duration", hint)
    if per_second or unit.lower() not in _SECONDS:
        raise UsageError(f"{shown(value)} is not a duration", hint=hint)
    return number * _SECONDS[unit.lower()]


def _bytes(value: object, what: str, hint: str, *, rate: bool) -> int:
    number, unit, per_second = _split(value, what, hint)
    if unit.endswith("b"):  # Mb, Gb, kb; "MB" ends with a capital
        raise UsageError(f"{shown(value)} may mean bits or bytes", hint="write MB for bytes or Mbit for bits")
    if rate and unit.lower() in _BITS:
        amount = number * _BITS[unit.lower()] / 8
    elif unit.upper() in _BYTES and (rate or not per_second):
        amount = number * _BYTES[unit.upper()]
    else:
        raise UsageError(f"{shown(value)} is not a {what}", hint=hint)
    if amount > _MAX_BYTES:
        raise UsageError(f"{shown(value)} is too large a {what}", hint="the largest is 8 EiB")
    if 0 < amount < 1:
        raise UsageError(f"{shown(value)} is less than one byte", hint=hint)
    return int(amount)


def _split(value: object, what: str, hint: str) -> tuple[float, str, bool]:
    if isinstance(value, int | float) and not isinstance(value, bool):
        value = str(value) if isinstance(value, float) or value.bit_length() <= _MAX_BITS else "too long"
    match = _NUMBER.fullmatch(value.strip()) if isinstance(value, str) else None
    if match is None:
        raise UsageError(f"{shown(value)} is not a {what}", hint=hint)
    digits, unit, per_second = match.groups()
    return (float(digits) if "." in digits else int(digits)), unit, per_second is not None
