"""Installers by the name that manifests give: the built-in ones, and those that other packages bring by entry point.

Rules:

* A package registers a ``Factory`` under a name in the group ``boardwright.installers``. It is loaded at the agent's
  start, once.
* One that cannot be loaded, a name that two packages claim and a name of a built-in one are a sentence in the log, and
  the reason of a deployment that asks for it; never a crash, never a silent choice.
* Whatever else than the interface's own errors an installer of another package raises becomes an InstallError that
  names it (``Guarded``): a mistake in it must not end the board's worker.
"""

import errno
import importlib.metadata
from collections.abc import Callable, Iterable, Mapping
from typing import TypeVar

from boardwright import log
from boardwright.agent.installers.base import DiskError, Factory, Installed, Installer, InstallError, Place, Target
from boardwright.agent.installers.command import CommandInstaller
from boardwright.agent.installers.tree import TreeInstaller
from boardwright.errors import BoardwrightError, FailedError

GROUP = "boardwright.installers"
BUILT_IN: Mapping[str, Factory] = {"command": CommandInstaller, "tree": TreeInstaller}
_T = TypeVar("_T")
_FULL = (errno.ENOSPC, errno.EDQUOT)  # what may pass by itself

_log = log.get("agent.installers")


def find_installers(points: Iterable[importlib.metadata.EntryPoint] | None = None) -> dict[str, Factory]:
    """Every installer of this agent; what is wrong with one is logged. `points` None: those that are installed."""
    by_name: dict[str, list[importlib.metadata.EntryPoint]] = {}
    for point in importlib.metadata.entry_points(group=GROUP) if points is None else points:
        by_name.setdefault(point.name, []).append(point)
    found = dict(BUILT_IN)
    for name, claims in sorted(by_name.items()):
        if name in BUILT_IN:
            _log.warning("installer ignored", installer=name, package=_packages(claims), reason="the name is built in")
        elif len(claims) > 1:
            whose = _packages(claims)
            found[name] = _broken(f"several packages bring the installer {name!r}: {whose}; remove all but one")
        else:
            found[name] = _load(name, claims[0])
    return found


def make_installer(name: str, place: Place, installers: Mapping[str, Factory] = BUILT_IN) -> Installer:
    """The installer `name` for `place`; raises FailedError that lists what there is."""
    factory = installers.get(name)
    if factory is None:
        known = ", ".join(sorted(installers))
        raise FailedError(f"the manifest of {place.group} asks for the installer {name!r}, this agent has {known}")
    return factory(place)


class Guarded:
    """An installer of another package: its mistakes are errors with a sentence."""

    def __init__(self, name: str, factory: Factory, place: Place) -> None:
        self._name = name
        self._inner = self._call("make itself ready", lambda: factory(place))

    def stage(self, version: Installed) -> None:
        self._call("stage", lambda: self._inner.stage(version))

    def activate(self, version: Installed, running: Target | None) -> None:
        self._call("activate", lambda: self._inner.activate(version, running))

    def confirm(self, version: Installed) -> None:
        self._call("confirm", lambda: self._inner.confirm(version))

    def roll_back(self, target: Target, to: Installed | None) -> None:
        self._call("roll back", lambda: self._inner.roll_back(target, to))

    def running(self) -> Installed | None:
        found = self._call("say what is running", self._inner.running)
        if found is not None and not isinstance(found, Installed):
            raise InstallError(f"installer {self._name!r} answers running() with {type(found).__name__}, not Installed")
        return found

    def _call(self, what: str, call: Callable[[], _T]) -> _T:
        try:
            return call()
        except BoardwrightError:
            raise
        except (Exception, SystemExit) as error:
            kind = DiskError if isinstance(error, OSError) and error.errno in _FULL else InstallError
            raise kind(f"installer {self._name!r} could not {what}: {_said(error)}") from error


def _load(name: str, point: importlib.metadata.EntryPoint) -> Factory:
    try:
        factory = point.load()
    except (Exception, SystemExit) as error:  # noqa: BLE001  (somebody else's code)
        return _broken(f"the installer {name!r} of {_packages([point])} cannot be loaded: {_said(error)}")
    if not callable(factory):
        return _broken(f"the installer {name!r} of {_packages([point])} is no factory, but {type(factory).__name__}")
    return lambda place: Guarded(name, factory, place)


def _broken(reason: str) -> Factory:
    _log.warning("installer cannot be used", reason=reason)

    def refuse(place: Place) -> Installer:
        raise FailedError(f"{place.group} cannot be installed: {reason}")

    return refuse


def _packages(points: list[importlib.metadata.EntryPoint]) -> str:
    names = (f"{point.dist.name} {point.dist.version}" if point.dist else point.value for point in points)
    return ", ".join(sorted(names))


def _said(error: BaseException) -> str:
    words = " ".join(str(error).split())[:200]
    return f"{type(error).__name__}: {words}" if words else type(error).__name__
