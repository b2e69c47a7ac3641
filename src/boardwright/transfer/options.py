"""How a version describes itself: ``boardwright.toml`` beside its files, and what the command line says over it.

Rules:

* Every field is optional; what was given to the command wins over the file.
* Unknown tables and keys are refused with file, key and value: a misspelt health check must not be a missing one.
* The file itself is not deployed.
"""

import difflib
import tomllib
from collections.abc import Iterable
from typing import Any, TypeVar

import msgspec

from boardwright.errors import MAX_SHOWN, MalformedError, UsageError, shown
from boardwright.model.requirement import parse_requirement
from boardwright.model.software import CommandSpec, HealthSpec, InstallSpec, check_path
from boardwright.model.words import MAX_SECONDS, is_board_type, is_tcp, is_url

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
    case_sensitive: bool | None = None

    def over(self, other: "SoftwareOptions") -> "SoftwareOptions":
        """These options, and where they say nothing, the other ones."""
        merged = {name: _first(getattr(self, name), getattr(other, name)) for name in self.__struct_fields__}
        return SoftwareOptions(**merged)


class _Software(msgspec.Struct, frozen=True, kw_only=True):
    group: str | None = None
    version: str | None = None
    board_types: tuple[str, ...] | None = None
    requires: dict[str, str] | None = None
    case_sensitive: bool | None = None


_TABLES = ("software", "install", "health")
_KINDS: dict[Any, str] = {
    str: "text, write it in quotes",
    str | None: "text, write it in quotes",
    float: "a number of seconds, write digits without quotes",
    bool | None: "true or false, write it without quotes",
    tuple[str, ...]: 'a list of texts, write ["a", "b"]',
    tuple[str, ...] | None: 'a list of texts, write ["a", "b"]',
    CommandSpec | None: 'a table of programs: activate, stage, confirm, roll_back, running, each like ["bin/x", "arg"]',
    dict[str, str] | None: 'a table of requirements, write { platform = ">= 3" }',
}


def read_options(name: str, data: bytes) -> SoftwareOptions:
    """Read the file called `name`; raises UsageError with file, key and value."""
    if len(data) > MAX_FILE:
        raise UsageError(f"{name} has more than {MAX_FILE} bytes", hint="is it really the description of a version?")
    try:
        tables = tomllib.loads(data.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise UsageError(f"{name} is not text in UTF-8", hint="save it as UTF-8") from error
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{name} is not TOML: {error}", hint="see https://toml.io for the format") from error
    for table, content in tables.items():
        if table not in _TABLES and isinstance(content, dict):
            raise UsageError(f"{name} has the unknown table [{_word(table)}]", hint=_known(table, _TABLES))
        if table not in _TABLES or not isinstance(content, dict):
            raise UsageError(
                f"{name} has {_shown(table, content)} outside of a table",
                hint="known are [software], [install] and [health]",
            )
    software = _table(name, "software", tables, _Software)
    _check_requires(name, software.requires or {})
    check_board_types(f"{name}: [software] board_types", software.board_types or ())
    install = _table(name, "install", tables, InstallSpec) if "install" in tables else None
    if install is not None:
        _check_seconds(f"{name}: [install] hook_timeout", install.hook_timeout)
        _check_command(name, install)
    health = _table(name, "health", tables, HealthSpec) if "health" in tables else None
    if health is not None:
        _check_health(name, health)
    return SoftwareOptions(
        group=software.group,
        version=software.version,
        board_types=software.board_types,
        requires=software.requires,
        install=install,
        health=health,
        case_sensitive=software.case_sensitive,
    )


def check_board_types(name: str, board_types: Iterable[str]) -> None:
    """Raise UsageError for a glob that no board type could match or that cannot name a variant."""
    for board_type in board_types:
        if not is_board_type(board_type):
            raise UsageError(
                f"{name}: board type {board_type[:200]!r} is not a glob of a board type",
                hint="letters, digits and . _ + ~ - with * ? [ ] where anything fits, e.g. lc-*; repeat it for more",
            )


def _table(name: str, table: str, tables: dict[str, Any], kind: type[_T]) -> _T:
    values: dict[str, Any] = {}
    fields = {field.name: field.type for field in msgspec.structs.fields(kind)}
    for key, value in tables.get(table, {}).items():
        if key not in fields:
            raise UsageError(f"{name}: [{table}] has the unknown key {_shown(key, value)}", hint=_known(key, fields))
        try:
            values[key] = msgspec.convert(value, fields[key])
        except msgspec.ValidationError as error:
            what, _, hint = _KINDS[fields[key]].partition(", ")
            raise UsageError(f"{name}: [{table}] {_shown(key, value)} is not {what}", hint=hint) from error
    return kind(**values)


def _check_requires(name: str, requires: dict[str, str]) -> None:
    for group, requirement in requires.items():
        try:
            parse_requirement(requirement)
        except UsageError as error:
            raise UsageError(
                f"{name}: [software] requires.{_word(group)} = {shown(requirement)} cannot be read",
                hint=error.hint,
            ) from None


def _check_command(name: str, install: InstallSpec) -> None:
    spec = install.command
    if spec is not None and install.installer != "command":
        raise UsageError(
            f"{name} has [install.command], but its installer is {install.installer!r}",
            hint='write installer = "command" under [install]',
        )
    if install.installer == "command" and (spec is None or not spec.activate):
        raise UsageError(
            f'{name}: the installer "command" needs to know what activates a version',
            hint='write activate = ["bin/activate"] under [install.command]',
        )


def _check_health(name: str, health: HealthSpec) -> None:
    probes = [kind for kind in _HEALTH_KINDS if getattr(health, kind)]
    if len(probes) != 1:
        raise UsageError(
            f"{name}: [health] has {' and '.join(probes) or 'no probe'}",
            hint="write exactly one of command, http and tcp",
        )
    _check_seconds(f"{name}: [health] timeout", health.timeout)
    program = health.command[0] if health.command else ""
    if health.command and not program.startswith("/"):
        try:
            check_path(program)
        except MalformedError as error:
            raise UsageError(
                f"{name}: [health] command: {error}", hint="write its path in the version, e.g. bin/check"
            ) from error
    if health.http and not is_url(health.http):
        raise UsageError(
            f"{name}: [health] {_shown('http', health.http)} is not a URL", hint='e.g. "http://127.0.0.1/up"'
        )
    if health.tcp and not is_tcp(health.tcp):
        raise UsageError(f"{name}: [health] {_shown('tcp', health.tcp)} is not host:port", hint='e.g. "127.0.0.1:179"')


def _check_seconds(what: str, seconds: float) -> None:
    if not 0 < seconds <= MAX_SECONDS:
        raise UsageError(
            f"{what} = {seconds:g} is not more than 0 and at most {MAX_SECONDS:g} seconds", hint="write e.g. 10"
        )


def _known(word: str, known: Iterable[str]) -> str:
    words = list(known)
    close = difflib.get_close_matches(word[:MAX_SHOWN], words, n=1)
    return f"did you mean {close[0]!r}?" if close else f"known are {', '.join(words)}"


def _first(one: Any, other: Any) -> Any:
    return other if one is None else one


def _shown(key: str, value: Any) -> str:
    return f"{_word(key)} = {shown(value)}"


def _word(key: str) -> str:
    return key if key.isprintable() and len(key) <= MAX_SHOWN else shown(key)
