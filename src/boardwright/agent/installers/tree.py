"""The installer ``tree``: a version is in use as soon as the link ``current`` points to its directory.

Rules:

* Before-hooks run while the old version is in place. Then the link is switched, after-hooks of the new version run, and
  its units are restarted (``Programs``).
* Rolling back switches the link, then runs the after-hooks and restarts the units of the version that comes back.
"""

from boardwright.agent.installers.base import Installed, Place, Target
from boardwright.agent.installers.programs import Programs


class TreeInstaller:
    """The link of `place.versions` is all that there is to it."""

    def __init__(self, place: Place) -> None:
        self._versions = place.versions
        self._programs = Programs(place)

    def stage(self, version: Installed) -> None:
        """Nothing to do: the files lie where they are used."""

    def activate(self, version: Installed, running: Target | None) -> None:
        """Hooks before, the link, hooks after, units."""
        previous = running.version if running else ""
        self._programs.before(version, previous)
        self._versions.use(version)
        self._programs.after(version, previous)

    def confirm(self, version: Installed) -> None:
        """Nothing to do: the link outlasts a restart already."""

    def roll_back(self, target: Target, to: Installed | None) -> None:
        """The link back, hooks after, units; without a version to go back to, the link goes."""
        self._versions.use(to)
        if to is not None:
            self._programs.after(to, target.version)

    def running(self) -> Installed | None:
        """What the link points to."""
        return self._versions.current()
