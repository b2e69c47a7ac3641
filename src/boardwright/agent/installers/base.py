"""The interface of an installer, and what installers say when something goes wrong.

Rules:

* An installer serves one software group on one board; it blocks, and runs in the board's worker thread.
* Every method may be called again after a crash in the middle of it, and then ends what was begun.
* ``activate`` says no with ``VetoError`` only as long as nothing was changed; after that it fails with FailedError and
  the caller rolls back.
* ``roll_back`` ends with the confirmed version in place, or nothing if there was none.
"""

import threading
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Protocol

import msgspec

from boardwright.errors import BoardwrightError, FailedError
from boardwright.model.software import Manifest, Target


class VetoError(BoardwrightError):
    """A hook said no before anything was changed; `log` is the tail of its output."""

    def __init__(self, message: str, *, log: str = "") -> None:
        super().__init__(message)
        self.log = log


class InstallError(FailedError):
    """A step failed after something may have been changed; `log` is the tail of a program's output."""

    def __init__(self, message: str, *, log: str = "") -> None:
        super().__init__(message)
        self.log = log


class DiskError(InstallError):
    """The disk did not take a step (it is full, it fails): the version is not to blame, and later it may."""


class Version(msgspec.Struct, frozen=True):
    """A version on its way: the plan's name for it, its manifest, and the bytes that its digest is of."""

    target: Target
    manifest: Manifest
    data: bytes


class Installed(msgspec.Struct, frozen=True):
    """A version on the disk and where its files are."""

    target: Target
    manifest: Manifest
    path: Path


class Place(msgspec.Struct, frozen=True):
    """Where an installer works: the group's directory, the board, the environment for programs, the stop signal."""

    board: str
    group: str
    directory: Path
    environment: Mapping[str, str]
    stop: threading.Event


class Installer(Protocol):
    """Puts versions of one group into their place on one board."""

    def stage(self, version: Version, build: Callable[[Path], None]) -> None:
        """Make the version complete and durable beside the running one; `build` fills a directory with its files."""

    def activate(self, target: Target, running: Target | None) -> None:
        """Let `target` take over. Raises VetoError if nothing was changed, else InstallError."""

    def confirm(self, running: Target) -> None:
        """Make `running` lasting: no restart of the board brings another version back."""

    def collect(self, kept: Collection[Target]) -> None:
        """Remove every version but `kept` and the one in place."""

    def roll_back(self, target: Target, to: Target | None) -> None:
        """Let `to`, or nothing, take over again from `target`. Raises InstallError."""

    def discard(self, target: Target) -> None:
        """Remove what was staged of `target`, which does not run."""

    def find(self, target: Target) -> Installed | None:
        """The version, if it is complete on the disk."""

    def running(self) -> Installed | None:
        """What is in place now, whatever the ledger says."""
