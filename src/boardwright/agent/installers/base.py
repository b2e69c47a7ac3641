"""The interface of an installer, and what installers say when something goes wrong. Third parties build on this module.

Rules:

* An installer serves one software group on one board; it blocks, and runs in the board's worker threads.
* The agent keeps the versions' files (``Place.versions``): what an installer is handed is complete, verified and
  durable, and stays until nothing needs it. The installer puts it into use, and then says so by ``versions.use``.
* Every method may be called again after a crash in the middle of it, and then ends what was begun.
* ``stage`` and ``activate`` say no with VetoError as long as nothing was changed for what runs; after that they fail
  with InstallError and the caller rolls back.
* What the disk does not take is a DiskError or the OSError itself: the version is not to blame and is tried again.
* ``roll_back`` ends with the confirmed version in place, or nothing if there was none.
* A method that can take long looks at ``Place.stop`` or runs programs by ``Programs``, which does.
"""

import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol

import msgspec

from boardwright.agent.versions import DiskError, Installed, Version, Versions
from boardwright.errors import BoardwrightError, FailedError
from boardwright.model.software import Target

__all__ = [
    "DiskError",
    "Factory",
    "InstallError",
    "Installed",
    "Installer",
    "Place",
    "Target",
    "Version",
    "Versions",
    "VetoError",
]


class VetoError(BoardwrightError):
    """Somebody said no before anything was changed; `log` is the tail of a program's output."""

    def __init__(self, message: str, *, log: str = "") -> None:
        super().__init__(message)
        self.log = log


class InstallError(FailedError):
    """A step failed after something may have been changed; `log` is the tail of a program's output."""

    def __init__(self, message: str, *, log: str = "") -> None:
        super().__init__(message)
        self.log = log


class Place(msgspec.Struct, frozen=True):
    """Where an installer works: the group's directory, the board, the environment for programs, the stop signal."""

    board: str
    group: str
    directory: Path
    environment: Mapping[str, str]
    stop: threading.Event

    @property
    def versions(self) -> Versions:
        """The group's versions on the disk."""
        return Versions(self.directory)


class Installer(Protocol):
    """Puts versions of one group into use on one board."""

    def stage(self, version: Installed) -> None:
        """Prepare what can be prepared beside the running version. Raises VetoError."""

    def activate(self, version: Installed, running: Target | None) -> None:
        """Let `version` take over. Raises VetoError if nothing was changed, else InstallError."""

    def confirm(self, version: Installed) -> None:
        """Make `version`, which is healthy, lasting: no restart brings another back. Raises InstallError."""

    def roll_back(self, target: Target, to: Installed | None) -> None:
        """Let `to`, or nothing, take over again from `target`. Raises InstallError."""

    def running(self) -> Installed | None:
        """What is in place now, whatever the ledger says; quick, it is asked at the agent's start."""


Factory = Callable[[Place], Installer]
