"""Ordering of version names, and the requirements of one group on another (``requires`` of a manifest).

The ordering, documented for users in ``docs/state.md``:

* A version is leading numbers joined by dots (``8.4.4``), then text; a ``v`` before the first digit is ignored.
* Numbers compare as numbers, a missing one counts as 0: ``3`` equals ``3.0``, ``8.10`` is after ``8.9``.
* If the numbers are equal: text that begins with ``~`` or with one of the words alpha, beta, dev, pre, preview, rc,
  snapshot names something before the plain version, all other text something after it:
  ``1.0-rc1`` < ``1.0~rc2`` < ``1.0`` < ``1.0-1`` < ``1.0.hotfix``.
* Two texts compare run by run: digits as numbers, letters alphabetically without case, a number before a word, the
  shorter first; ``. _ - + ~`` only separate.

A requirement is clauses joined by commas, all of which must hold: ``>= 3``, ``== 8.4``, ``< 2, >= 1``, ``!= 1.7``;
``*`` is any version. ``==`` is the equality of this ordering, not of prefixes: 8.4.4 is not ``== 8.4``.
"""

import operator
import re
from collections.abc import Callable

from boardwright.errors import UsageError

_BEFORE = frozenset({"alpha", "beta", "dev", "pre", "preview", "rc", "snapshot"})
_NUMBERS = re.compile(r"[vV]?([0-9]+(?:\.[0-9]+)*)")
_RUN = re.compile(r"[0-9]+|[^0-9._+~-]+")
_CLAUSE = re.compile(r"(>=|<=|==|!=|>|<)\s*([A-Za-z0-9][A-Za-z0-9._+~-]{0,127})")
_OPERATORS: dict[str, Callable[[int, int], bool]] = {
    ">=": operator.ge,
    "<=": operator.le,
    "==": operator.eq,
    "!=": operator.ne,
    ">": operator.gt,
    "<": operator.lt,
}

# A number as (count of digits, digits): compares like the number, whatever its length.
_Number = tuple[int, str]
_Key = tuple[tuple[_Number, ...], int, tuple[tuple[int, _Number, str], ...]]


def compare(a: str, b: str) -> int:
    """-1 if version `a` is before `b`, 0 if they are equal in the ordering above, else 1; defined for every text."""
    left, right = _key(a), _key(b)
    return (left > right) - (left < right)


def satisfies(version: str, requirement: str) -> bool:
    """Whether `version` meets every clause of `requirement`; raises UsageError if that is malformed."""
    return all(_OPERATORS[sign](compare(version, bound), 0) for sign, bound in parse_requirement(requirement))


def parse_requirement(requirement: str) -> tuple[tuple[str, str], ...]:
    """The clauses as (operator, version), none for ``*``; raises UsageError with the clause that is malformed."""
    if requirement.strip() == "*":
        return ()
    clauses = []
    for clause in requirement.split(","):
        match = _CLAUSE.fullmatch(clause.strip())
        if match is None:
            raise UsageError(
                f"requirement {requirement[:200]!r} has the clause {clause.strip()[:200]!r}",
                hint="write an operator (>=, <=, ==, !=, >, <) and a version, joined by commas, or * for any version",
            )
        clauses.append((match[1], match[2]))
    return tuple(clauses)


def _key(version: str) -> _Key:
    match = _NUMBERS.match(version)
    numbers = [_number(part) for part in match[1].split(".")] if match else []
    while numbers and numbers[-1] == (0, ""):
        numbers.pop()
    text = version[match.end() :] if match else version
    runs = tuple(
        (0, _number(run), "") if "0" <= run[0] <= "9" else (1, (0, ""), run.lower()) for run in _RUN.findall(text)
    )
    return tuple(numbers), _stage(text, runs), runs


def _number(digits: str) -> _Number:
    stripped = digits.lstrip("0")
    return len(stripped), stripped


def _stage(text: str, runs: tuple[tuple[int, _Number, str], ...]) -> int:
    """-1 before the plain version, 0 the plain version, 1 after it."""
    if text.startswith("~") or (runs and runs[0][2] in _BEFORE):
        return -1
    return 1 if runs else 0
