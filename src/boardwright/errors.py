"""Errors of Boardwright. The type says what to do next, the message says what we were doing.

Rules:

* The message is one sentence that names the file, field or peer and the value; the cause is chained
  with ``raise ... from``, never pasted in.
* ``hint`` is one sentence that tells the operator what to do; it may be missing.
* ``exit_code`` is the documented exit code of the commands (0 done, 1 failed, 2 wrong usage, 3 refused,
  4 no server answered).
* Normal outcomes are values, not errors.
"""

from collections.abc import Iterator
from typing import ClassVar

MAX_SHOWN = 200  # characters of a value in a sentence: who reads it knows then which one is meant
MAX_SENTENCE = 1000  # characters; only a path can make one longer, and nobody reads on
_MAX_BITS = 512  # of a number that is written out; Python refuses to write very long ones
MAX_CAUSES = 20  # lines; a cluster has a few servers, each with a reason of some lines


class BoardwrightError(Exception):
    """Something failed; base of every error that Boardwright raises on purpose (exit code 1)."""

    exit_code: ClassVar[int] = 1
    retry: ClassVar[bool] = False

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.hint = hint


class FailedError(BoardwrightError):
    """The work itself failed: a download, a deployment, a health check (exit code 1)."""


class UsageError(BoardwrightError):
    """Arguments, configuration, manifest or inventory are wrong; nothing was done (exit code 2)."""

    exit_code: ClassVar[int] = 2


class RefusedError(BoardwrightError):
    """Allowed syntax, forbidden act: immutable version, stale plan, existing folder (exit code 3)."""

    exit_code: ClassVar[int] = 3


class ForbiddenError(RefusedError):
    """Who asks is known, and may not (exit code 3)."""


class UnreachableError(BoardwrightError):
    """No server answered; the same call may succeed later (exit code 4)."""

    exit_code: ClassVar[int] = 4
    retry: ClassVar[bool] = True


class ConflictError(BoardwrightError):
    """A compare-and-set lost against another writer: read again and decide anew."""

    exit_code: ClassVar[int] = 3
    retry: ClassVar[bool] = True


class MalformedError(BoardwrightError):
    """Bytes from a peer, an archive or a disk break their format; count and drop them."""


def shown(value: object) -> str:
    """A value of a file as a sentence names it: short and printable, whatever it is."""
    if isinstance(value, str):
        return repr(value) if len(value) <= MAX_SHOWN else f"{value[:MAX_SHOWN]!r}..."
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int) and value.bit_length() > _MAX_BITS:
        return f"a number of {value.bit_length()} bits"
    if isinstance(value, list):
        return _cut("[" + ", ".join(map(_item, value[:MAX_SHOWN])) + "]")
    if isinstance(value, dict):
        keys = [f"{key if key.isprintable() else ascii(key)} = {_item(value[key])}" for key in list(value)[:MAX_SHOWN]]
        return _cut(f"{{ {', '.join(keys)} }}")
    return _cut(str(value))


def _item(value: object) -> str:
    return "..." if isinstance(value, list | dict) and value else shown(value)


def _cut(text: str) -> str:
    return text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}..."


def explain(program: str, error: BaseException) -> list[str]:
    """What a program that ends because of `error` says: one sentence, the causes that add something, the hint."""
    said = [_sentence(error)]
    lines = [f"{program}: {said[0]}"]
    for depth, cause in list(_causes(error, 1))[:MAX_CAUSES]:
        sentence = _sentence(cause)
        if not any(sentence in earlier for earlier in said):
            lines.append(f"{'  ' * depth}because: {sentence}")
            said.append(sentence)
    hint = getattr(error, "hint", None)
    return [*lines, f"hint: {hint}"] if hint else lines


def _causes(error: BaseException, depth: int) -> Iterator[tuple[int, BaseException]]:
    cause = error.__cause__
    if isinstance(cause, BaseExceptionGroup):
        for member in cause.exceptions:
            yield depth, member
            yield from _causes(member, depth + 1)
    elif cause is not None:
        yield depth, cause
        yield from _causes(cause, depth + 1)


def _sentence(error: BaseException) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    if not text.isprintable():  # what names and values hold must not steer the terminal
        text = "".join(one if one.isprintable() else repr(one)[1:-1] for one in text)
    if len(text) > MAX_SENTENCE:
        text = f"{text[:MAX_SENTENCE]}..."
    if isinstance(error, KeyError):
        return f"{type(error).__name__} {text}"
    return text
