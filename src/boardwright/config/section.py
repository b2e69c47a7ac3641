"""One table of a configuration, read key by key; what nobody asked for is refused at the end.

Rules:

* A **reader** turns the raw TOML value into what the program needs, or raises UsageError about the value alone
  (``'x' is not a rate``). The section puts the file, the table and the key in front.
* ``need`` refuses a missing key, ``get`` has a default. ``finish`` refuses keys that were never asked for. Both name
  the close match: a misspelt key is a missing one, too.
"""

import difflib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TypeVar

from boardwright.config.fragments import Document, Keys
from boardwright.errors import MAX_SHOWN, UsageError, shown

T = TypeVar("T")
D = TypeVar("D")

MAX_TEXT = 4096  # characters; the longest is a path, PATH_MAX of linux/limits.h
MAX_ITEMS = 4096  # of a list; the longest is that of the servers of a cluster without multicast
NEARLY = 0.8  # of difflib's ratio: a letter or two are wrong, and another key of the same table is not meant


class Section:
    """A table of `document` at `keys`, called `label` in errors; `absent` is the hint if the file has no such table."""

    def __init__(
        self, document: Document, keys: Keys, table: Mapping[str, object], label: str, absent: str | None = None
    ) -> None:
        self._document = document
        self._keys = keys
        self._table = table
        self._known: set[str] = set()
        self._absent = absent
        self.label = label

    def __contains__(self, key: str) -> bool:
        return key in self._table

    def need(self, key: str, reader: Callable[[object], T]) -> T:
        """The key's value through `reader`; UsageError if it is missing or wrong."""
        self._known.add(key)
        if key not in self._table:
            hint = self._absent or meant(key, self._table, "there is {!r}, did you mean {!r}?") or f"add {key} = ..."
            raise UsageError(f"{self._document.path}: {self._named(key)}: is missing", hint=hint)
        try:
            return reader(self._table[key])
        except UsageError as error:
            raise self.error(key, str(error), hint=error.hint) from error.__cause__

    def get(self, key: str, reader: Callable[[object], T], default: D) -> T | D:
        """The key's value through `reader`, or `default` if the key is missing."""
        self._known.add(key)
        return self.need(key, reader) if key in self._table else default

    def path(self, key: str, default: Path | str | None = None) -> Path:
        """An absolute path; a relative one resolves against the folder of the file that says it.

        A default resolves against the main file, whatever drop-ins say beside it.
        """
        if default is not None and key not in self:
            self._known.add(key)
            return self._document.path.parent / default
        return self.resolve(key, self.need(key, text))

    def path_or_none(self, key: str) -> Path | None:
        """Like ``path``; None for a missing key."""
        self._known.add(key)
        return self.path(key) if key in self else None

    def resolve(self, key: str, written: Path | str) -> Path:
        """`written`, found under `key`, as an absolute path."""
        return self._document.origin((*self._keys, key)).parent / written

    def error(self, key: str, message: str, *, hint: str | None = None) -> UsageError:
        """An error about the key that names file, table and key."""
        return UsageError(f"{self._document.origin((*self._keys, key))}: {self._named(key)}: {message}", hint=hint)

    def finish(self) -> None:
        """Refuse every key that no reader asked for."""
        for key in self._table:
            if key not in self._known:
                raise self.error(key, "is not a key that is known here", hint=suggestion(key, self._known))

    def _named(self, key: str) -> str:
        return f"{self.label} {_word(key)}".strip()


class Sections:
    """The tables of a document by name; those that nobody asked for are refused at the end."""

    def __init__(self, document: Document) -> None:
        self._document = document
        self._asked: dict[str, Section] = {}

    def table(self, name: str) -> Section:
        """The table `name`; an empty one if the file has none."""
        if name not in self._asked:
            table = self._document.tables.get(name, {})
            if not isinstance(table, dict):
                raise UsageError(f"{self._document.origin((name,))}: {name}: is not a table", hint=f"write [{name}]")
            absent = None
            if name not in self._document.tables:
                absent = meant(name, self._document.tables, "there is [{}], did you mean [{}]?")
            self._asked[name] = Section(self._document, (name,), table, f"[{name}]", absent)
        return self._asked[name]

    def finish(self, arrays: Iterable[str] = ()) -> None:
        """Refuse unknown tables and unknown keys in the known ones; `arrays` are tables read elsewhere."""
        known = {*self._asked, *arrays}
        for name in self._document.tables:
            if name not in known:
                message = f"{self._document.origin((name,))}: [{_word(name)}]: is not a table of this file"
                raise UsageError(message, hint=suggestion(name, known))
        for section in self._asked.values():
            section.finish()


def _word(key: str) -> str:
    return key if key.isprintable() and len(key) <= MAX_SHOWN else shown(key)


def suggestion(word: str, known: Iterable[str]) -> str:
    """ "did you mean ...?" if a known word is close, else all of them."""
    known = sorted(known)
    close = difflib.get_close_matches(word[:MAX_SHOWN], known, n=1)
    return f"did you mean {close[0]!r}?" if close else f"known are {', '.join(known)}"


def meant(word: str, written: Iterable[str], sentence: str) -> str | None:
    """`sentence` with the written word that is nearly `word`, and `word`; None if there is none."""
    close = difflib.get_close_matches(word, [one for one in written if len(one) <= MAX_SHOWN], n=1, cutoff=NEARLY)
    return sentence.format(close[0], word) if close else None


def text(value: object) -> str:
    """Reader of non-empty text."""
    if not isinstance(value, str):
        raise UsageError(f"{shown(value)} is not text", hint='write it in quotes: "..."')
    if not value.strip():
        raise UsageError(f"{shown(value)} is empty", hint="give a value or leave the key out")
    if not value.isprintable():
        raise UsageError(f"{shown(value)} has characters that cannot be seen", hint="take them out")
    if len(value) > MAX_TEXT:
        raise UsageError(f"{shown(value)} has {len(value)} characters, more than {MAX_TEXT}", hint="shorten it")
    return value


def texts(value: object) -> tuple[str, ...]:
    """Reader of one text or a list of texts."""
    if isinstance(value, str):
        return (text(value),)
    if not isinstance(value, list):
        raise UsageError(f"{shown(value)} is neither text nor a list of texts", hint='write ["a", "b"]')
    if len(value) > MAX_ITEMS:
        raise UsageError(f"{len(value)} entries are more than {MAX_ITEMS}", hint="shorten the list")
    return tuple(text(item) for item in value)


def flag(value: object) -> bool:
    """Reader of true and false."""
    if not isinstance(value, bool):
        raise UsageError(f"{shown(value)} is neither true nor false", hint="write true or false without quotes")
    return value


def whole(lowest: int, highest: int) -> Callable[[object], int]:
    """Reader of a whole number from `lowest` to `highest`."""

    def read(value: object) -> int:
        if not isinstance(value, int) or isinstance(value, bool) or not lowest <= value <= highest:
            raise UsageError(
                f"{shown(value)} is not a whole number from {lowest} to {highest}", hint="write digits without quotes"
            )
        return value

    return read
