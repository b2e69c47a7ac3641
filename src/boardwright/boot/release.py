"""What the boot stage tells the program that it starts, and how that program starts the stage anew.

Rules:

* One variable of the environment, JSON: releases of different ages read each other's, so fields are only ever added.
* It names its process: a program that inherits it is not meant.
* ``seen`` is what the link named when the stage looked, ``entered`` what was started because of it: they differ if
  that could not be started. Who follows the link compares it with ``seen``, so what cannot be started is tried once.
* Releases go by the name of their directory below ``versions``: ``8.4.4-3f2a...``. Nothing else is entered.
"""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

VARIABLE = "BOARDWRIGHT_BOOT"
LINK = "current"  # what the installer ``tree`` keeps (agent/versions.py)
VERSIONS = "versions"
_DIGITS = 12  # of the manifest's digest behind the version


class Boot(NamedTuple):
    """`command` starts the stage; `directory` is the followed group's, '' for none; names are '' for the installed."""

    pid: int
    command: tuple[str, ...]
    directory: str = ""
    seen: str = ""
    entered: str = ""

    @property
    def version(self) -> str:
        """The version that runs, as it was published; '' for the installed program."""
        return version_of(self.entered)

    def moved(self) -> bool:
        """Whether the link names something else than the stage saw."""
        return bool(self.directory) and named(Path(self.directory)) != self.seen


def boot_of(environ: Mapping[str, str], pid: int) -> Boot | None:
    """What the stage told this very process; None if it was started without one."""
    try:
        said = json.loads(environ.get(VARIABLE, ""))
        boot = Boot(
            int(said["pid"]),
            tuple(str(word) for word in said["command"]),
            str(said["directory"]),
            str(said["seen"]),
            str(said["entered"]),
        )
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
        return None
    return boot if boot.pid == pid and boot.command else None


def version_of(name: str) -> str:
    """The version of the release `name`, as it was published; '' for ''."""
    return name[: -_DIGITS - 1]


def told(boot: Boot) -> str:
    """The variable's value."""
    return json.dumps(boot._asdict())


def named(directory: Path) -> str:
    """The release that the link in the group's `directory` names, '' for none."""
    try:
        target = (directory / LINK).readlink()
    except OSError:
        return ""
    name = target.name
    good = target == Path(VERSIONS, name) and len(name) > _DIGITS + 1 and name[-_DIGITS - 1] == "-"
    return name if good else ""


def boot_again(boot: Boot, environ: Mapping[str, str]) -> None:
    """Become the boot stage, in the same process. Raises OSError; else it does not return."""
    os.execve(boot.command[0], boot.command, {key: value for key, value in environ.items() if key != VARIABLE})
