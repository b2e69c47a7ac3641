"""Installers by the name that manifests give; third parties will add theirs by entry point."""

from collections.abc import Callable, Mapping

from boardwright.agent.installers.base import Installer, Place
from boardwright.agent.installers.tree import TreeInstaller
from boardwright.errors import FailedError

Factory = Callable[[Place], Installer]

INSTALLERS: Mapping[str, Factory] = {"tree": TreeInstaller}


def make_installer(name: str, place: Place, installers: Mapping[str, Factory] = INSTALLERS) -> Installer:
    """The installer `name` for `place`; raises FailedError that lists what there is."""
    factory = installers.get(name)
    if factory is None:
        known = ", ".join(sorted(installers))
        raise FailedError(f"the manifest of {place.group} asks for the installer {name!r}, this agent has {known}")
    return factory(place)
