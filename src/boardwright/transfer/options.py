"""How a version describes itself: ``boardwright.toml`` beside its files, and what the command line says over it.

Rules:

* Every field is optional; what was given to the command wins over the file.
* Unknown tables and keys are refused with file, key and value: a misspelt health check must not be a missing one.
* The file itself is not deployed.
"""

import tomllib
from typing import Any, TypeVar

import msgspec

from boardwright.errors import UsageError
from boardwright.model.requirement import parse_requirement
from boardwright.model.software import HealthSpec, InstallSpec

FILE_NAME = "boardwright.toml"
MAX_FILE = 1024 * 1024  # bytes; a description of a version is a page
_T = TypeVar("_T", bound=msgspec.Struct)
_HEALTH_KINDS = ("command", "http", "tcp")


class SoftwareOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What is known about a version beside its files; None: not said."""

    group: str | None = None
    version: str | None = None
    board_types: tuple[str, ...] | None = None
    requires: dict[str, str] | None = None
    install: InstallSpec | None = None
    health: HealthSpec | None = None

    def over(self, other: "SoftwareOptions") -> "SoftwareOptions":
        """These options, and where they say nothing, the other ones."""
        merged = {name: _first(getattr(self, name), getattr(other, name)) for name in self.__struct_fields__}
        return SoftwareOptions(**merged)


class _Software(msgspec.Struct, frozen=True, kw_only=True):
    group: str | None = None
    version: str | None = None
    board_types: tuple[str, ...] | None = None
    requires: dict[str, str] | None = None


_TABLES = ("software", "install", "health")


def read_options(name: str, data: bytes) -> SoftwareOptions:
    """Read the file called `name`; raises UsageError with file, key and value."""
    if len(data) > MAX_FILE:
        raise UsageError(f"{name} has {len(data)} bytes, more than {MAX_FILE}")
    try:
        tables = tomllib.loads(data.decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UsageError(f"{name} is not TOML: {error}") from error
    for table, content in tables.items():
        if table not in _TABLES or not isinstance(content, dict):
            raise UsageError(f"{name} has {_shown(table, content)}, known are [software], [install] and [health]")
    software = _table(name, "software", tables, _Software)
    _check_requires(name, software.requires or {})
    health = _table(name, "health", tables, HealthSpec) if "health" in tables else None
    if health is not None:
        _check_health(name, health)
    return SoftwareOptions(
        group=software.group,
        version=software.version,
        board_types=software.board_types,
        requires=software.requires,
        install=_table(name, "install", tables, InstallSpec) if "install" in tables else None,
        health=health,
    )


def _table(name: str, table: str, tables: dict[str, Any], kind: type[_T]) -> _T:
    values: dict[str, Any] = {}
    fields = {field.name: field.type for field in msgspec.structs.fields(kind)}
    for key, value in tables.get(table, {}).items():
        if key not in fields:
            raise UsageError(
                f"{name}: [{table}] has the unknown key {_shown(key, value)}", hint=f"known are {', '.join(fields)}"
            )
        try:
            values[key] = msgspec.convert(value, fields[key])
        except msgspec.ValidationError as error:
            raise UsageError(f"{name}: [{table}] {_shown(key, value)} is wrong: {error}") from error
    return kind(**values)


def _check_requires(name: str, requires: dict[str, str]) -> None:
    for group, requirement in requires.items():
        try:
            parse_requirement(requirement)
        except UsageError as error:
            raise UsageError(f"{name}: [software] requires.{group} = {requirement!r} is wrong: {error}") from error


def _check_health(name: str, health: HealthSpec) -> None:
    probes = [kind for kind in _HEALTH_KINDS if getattr(health, kind)]
    if len(probes) != 1:
        raise UsageError(
            f"{name}: [health] has {' and '.join(probes) or 'no probe'}, one of command, http, tcp is needed"
        )
    if not 0 < health.timeout <= 3600:
        raise UsageError(f"{name}: [health] timeout = {health.timeout:g} is not within 0 and 3600 s")


def _first(one: Any, other: Any) -> Any:
    return other if one is None else one


def _shown(key: str, value: Any) -> str:
    return f"{key} = {str(value)[:200]!r}" if isinstance(value, str) else f"{key} = {str(value)[:200]}"
