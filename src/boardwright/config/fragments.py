"""Configuration files as they lie on disk: one TOML file and its drop-ins, merged.

Rules:

* ``FILE`` is read first, then every ``FILE.d/*.toml`` in the order of their names; the later wins.
* Tables are merged key by key, anything else (lists, too) is replaced as a whole.
* A file is a regular one and bounded in size and depth before it is believed; a byte order mark is passed over.
* For every key the file that set it last is remembered: errors name it, and a relative path resolves against
  the folder of that file.
"""

import tomllib
from collections.abc import Mapping
from pathlib import Path

from boardwright.errors import UsageError

Keys = tuple[str, ...]

MAX_FILE_BYTES = 1024 * 1024  # a page or two, and a list of servers
MAX_DROP_INS = 1000
MAX_DEPTH = 16  # tables in tables; the deepest that is known has two


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


def read_document(path: Path, max_bytes: int = MAX_FILE_BYTES) -> Document:
    """Read `path` and its drop-ins, each of at most `max_bytes`; raises UsageError that names the file."""
    path = path.absolute()
    document = Document(path)
    document.merge(path, _read(path, max_bytes))
    for drop_in in _drop_ins(path.with_name(path.name + ".d")):
        document.merge(drop_in, _read(drop_in, max_bytes))
    return document


def _drop_ins(folder: Path) -> list[Path]:
    try:
        found = sorted(one for one in folder.iterdir() if one.name.endswith(".toml"))
    except FileNotFoundError:
        return []
    except OSError as error:
        raise UsageError(f"{folder}: cannot be read", hint="it is the folder of drop-ins beside the file") from error
    if len(found) > MAX_DROP_INS:
        raise UsageError(f"{folder}: has {len(found)} drop-ins, more than {MAX_DROP_INS}", hint="join them")
    return found


def _read(path: Path, max_bytes: int) -> dict[str, object]:
    try:
        if path.exists() and not path.is_dir() and not path.is_file():  # a pipe would keep us waiting
            raise UsageError(f"{path}: is not a file", hint="a device or a pipe is no configuration")
        with path.open("rb") as file:
            data = file.read(max_bytes + 1)
    except OSError as error:
        raise UsageError(
            f"{path}: cannot be read", hint="give the path of an existing file that you may read"
        ) from error
    if len(data) > max_bytes:
        raise UsageError(f"{path}: has more than {max_bytes} bytes", hint="is it really a configuration file?")
    try:
        tables = tomllib.loads(data.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise UsageError(f"{path}: is not text in UTF-8", hint="save it as UTF-8") from error
    except (ValueError, RecursionError) as error:  # of long numbers, too, which is no TOMLDecodeError
        raise UsageError(f"{path}: is not valid TOML", hint="see https://toml.io for the format") from error
    if _deeper(tables, MAX_DEPTH):
        raise UsageError(f"{path}: has tables in tables, more than {MAX_DEPTH} deep", hint="no key lies so deep")
    return tables


def _deeper(tables: dict[str, object], limit: int) -> bool:
    level: list[object] = [tables]
    for _ in range(limit):
        level = [
            inner
            for one in level
            for inner in (one.values() if isinstance(one, dict) else one if isinstance(one, list) else ())
            if isinstance(inner, dict | list)
        ]
        if not level:
            return False
    return True
