"""Configuration files as they lie on disk: one TOML file and its drop-ins, merged.

Rules:

* ``FILE`` is read first, then every ``FILE.d/*.toml`` in the order of their names; the later wins.
* Tables are merged key by key, anything else (lists, too) is replaced as a whole.
* For every key the file that set it last is remembered: errors name it, and a relative path resolves against
  the folder of that file.
"""

import tomllib
from collections.abc import Mapping
from pathlib import Path

from boardwright.errors import UsageError

Keys = tuple[str, ...]

MAX_FILE_BYTES = 64 * 1024 * 1024  # an inventory of 100,000 boards has some 20 MB


class Document:
    """The merged tables of a configuration and, for every key, the file that it came from."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.tables: dict[str, object] = {}
        self._origins: dict[Keys, Path] = {}

    def merge(self, path: Path, tables: Mapping[str, object]) -> None:
        """Lay `tables`, read from `path`, over what is there."""
        self._merge(self.tables, tables, path, ())

    def origin(self, keys: Keys) -> Path:
        """The file that set the key (a section and a key, say) last; the main file for what nobody set."""
        while keys:
            if keys in self._origins:
                return self._origins[keys]
            keys = keys[:-1]
        return self.path

    def _merge(self, into: dict[str, object], tables: Mapping[str, object], path: Path, above: Keys) -> None:
        for key, value in tables.items():
            keys = (*above, key)
            self._origins[keys] = path
            there = into.get(key)
            if isinstance(there, dict) and isinstance(value, dict):
                self._merge(there, value, path, keys)
            elif isinstance(value, dict):
                fresh: dict[str, object] = {}
                into[key] = fresh
                self._merge(fresh, value, path, keys)
            else:
                into[key] = value


def read_document(path: Path) -> Document:
    """Read `path` and its drop-ins; raises UsageError that names the file."""
    path = path.absolute()
    document = Document(path)
    document.merge(path, _read(path))
    folder = path.with_name(path.name + ".d")
    for drop_in in sorted(folder.glob("*.toml")):
        document.merge(drop_in, _read(drop_in))
    return document


def _read(path: Path) -> dict[str, object]:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise UsageError(
            f"{path}: cannot be read", hint="give the path of an existing file that you may read"
        ) from error
    if len(data) > MAX_FILE_BYTES:
        raise UsageError(f"{path}: has more than {MAX_FILE_BYTES} bytes", hint="is it really a configuration file?")
    try:
        return tomllib.loads(data.decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UsageError(f"{path}: is not valid TOML", hint="see https://toml.io for the format") from error
