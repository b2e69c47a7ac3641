"""Carries the machine's actions out on a real board: blocking, in worker threads, answering with events.

Rules:

* Two lanes: downloads wait for each other, take-overs (activate, probe, confirm, roll back) wait for each other, but a
  long download of one group does not hold up the take-over of another.
* Every action ends in exactly the events that the machine expects; what goes wrong is an event with a reason.
* A stopped job posts nothing more that counts. A job may be cut off at any point; doing it again ends it.
* A manifest is kept in STATE_DIR/manifests until its version is staged. What the store keeps is in ``stock``. Whether
  a version fits is asked before its first byte (``room``).
"""

import threading
from collections.abc import Callable, Mapping
from pathlib import Path

from boardwright import log
from boardwright.agent import deployment as d
from boardwright.agent.commands import environment
from boardwright.agent.complaints import Complaints
from boardwright.agent.deployment import Event
from boardwright.agent.downloads import Download
from boardwright.agent.health import check_health
from boardwright.agent.installers.base import DiskError, Factory, Installer, InstallError, Place, VetoError
from boardwright.agent.installers.programs import program_variables
from boardwright.agent.installers.registry import BUILT_IN, make_installer
from boardwright.agent.manifests import Manifests, sentence
from boardwright.agent.memory import give_back
from boardwright.agent.order import Release
from boardwright.agent.stock import RelayPort, Stock
from boardwright.agent.versions import Installed, Version, Versions
from boardwright.agent.worker import Worker
from boardwright.errors import BoardwrightError, FailedError, MalformedError
from boardwright.model.inventory import Board
from boardwright.model.software import Manifest, Target, variant_fits
from boardwright.net.agent_client import AgentClient
from boardwright.transfer.durable import sync_file_system
from boardwright.transfer.fetch import FetchLimits, fetch
from boardwright.transfer.shelf import Shelf
from boardwright.transfer.store import BlobStore
from boardwright.transfer.tree import build_tree, needed_blobs, reusable

Post = Callable[[str, Event], None]
PROBE_DEFAULT = 10.0  # seconds; without a health check there is nothing to wait for

_log = log.get("agent.deployer")


class Deployer:
    """The hands of one board's driver. `post(group, event)` must be thread-safe."""

    def __init__(
        self,
        board: Board,
        *,
        root: Path,
        state_dir: Path,
        limits: FetchLimits,
        client: AgentClient,
        environ: Mapping[str, str],
        installers: Mapping[str, Factory] = BUILT_IN,
    ) -> None:
        self._board = board
        self._root = root
        self._manifests = Manifests(state_dir / "manifests", client)
        self._store = BlobStore(state_dir / "store")
        self._stock = Stock(self._store, self._manifests, limits.store_quota)
        self._limits = limits
        self._client = client
        self._environ = environ
        self._installers = installers
        self._complaints = Complaints(board.id, client)
        self._downloads = Worker(f"{board.id} download")
        self._take_overs = Worker(f"{board.id} take-over")
        self._releases: dict[str, Release] = {}
        self._activation_limits: dict[str, float] = {}
        self._disk = threading.Lock()  # nobody collects while somebody stages
        self._coming: dict[str, Target] = {}  # what was asked for last, by group: nobody collects that
        self._jobs: dict[str, threading.Event] = {}  # the stop signal of a group's running or queued job
        self._post: Post = _unheard

    def start(self, post: Post, relay: RelayPort | None = None) -> None:
        """Say where events go, and who serves neighbours what is on the `shelf`."""
        self._post = post
        self._stock.relay = relay or self._stock.relay

    @property
    def shelf(self) -> Shelf:
        """What neighbours are served of."""
        return self._stock.shelf

    def tidy(self, others: tuple[Target, ...]) -> None:
        """Drop what no download (`others` are under way) and no neighbour needs."""
        if not self._stock.empty:
            self._downloads.submit(lambda: self._tidy(others))

    # What lies on the disk.

    def running(self, group: str) -> Target | None:
        """What is in place of `group`, whatever the ledger says."""
        current = self._versions(group).current()
        if current is None:
            return None
        try:
            installed = self._installer_of(current, threading.Event()).running()
        except BoardwrightError as error:
            _log.warning("what runs could not be asked", group=group, error=sentence(error))
            installed = current
        return self._remember(installed).target if installed else None

    def holds(self, target: Target) -> bool:
        """Whether `target` is complete on the disk."""
        return self._find(target) is not None

    def release(self, target: Target) -> Release:
        """What the version requires, as far as its manifest was seen."""
        return self._releases.get(target.manifest, Release(target.version))

    def activation_limit(self, target: Target) -> float:
        """Seconds that the hooks and restarts of the version may take, as far as its manifest was seen."""
        return self._activation_limits.get(target.manifest, 0.0)

    # Actions.

    def download(self, download: Download, others: tuple[Target, ...]) -> None:
        """Fetch and stage; `others` are versions that other groups of the board are fetching."""
        self._jobs[download.target.group] = download.stop
        self._coming[download.target.group] = download.target
        download.complain = self._complaints.post
        self._downloads.submit(lambda: self._download(download, others))

    def activate(self, action: d.Activate) -> None:
        self._submit(action.target, lambda stop: self._activate(action, stop))

    def probe(self, action: d.Probe) -> None:
        self._submit(action.target, lambda stop: self._probe(action.target, stop))

    def roll_back(self, action: d.RollBack) -> None:
        self._submit(action.target, lambda stop: self._roll_back(action, stop))

    def confirm(self, action: d.Confirm) -> None:
        self._take_overs.submit(lambda: self._confirm(action))

    def discard(self, action: d.Discard) -> None:
        if self._coming.get(action.target.group) == action.target:
            del self._coming[action.target.group]
        self._take_overs.submit(lambda: self._discard(action.target))

    def stop(self, group: str) -> None:
        """Stop what is being done for `group`."""
        job = self._jobs.pop(group, None)
        if job is not None:
            job.set()

    def close(self, timeout: float) -> bool:
        """Stop everything; False if a job did not end within `timeout` seconds."""
        for job in self._jobs.values():
            job.set()
        self._complaints.close(0.0)
        ended = self._downloads.close(timeout)
        return self._take_overs.close(timeout if ended else 0.0) and ended

    def _submit(self, target: Target, work: Callable[[threading.Event], None]) -> None:
        stop = threading.Event()
        self._jobs[target.group] = stop

        def job() -> None:
            if not stop.is_set():
                work(stop)

        self._take_overs.submit(job)

    # In the worker threads.

    def _download(self, download: Download, others: tuple[Target, ...]) -> None:
        target = download.target
        try:
            if not download.stop.is_set():
                self._fetch_and_stage(download, others)
        except MalformedError as error:
            self._answer(download.stop, target, d.StageFailed(target.manifest, sentence(error)))
        except (BoardwrightError, OSError) as error:
            self._answer(download.stop, target, d.DownloadFailed(target.manifest, sentence(error)))
        finally:
            self._stock.relay.ended(target)
            download.sources.close()
            give_back()

    def _fetch_and_stage(self, download: Download, others: tuple[Target, ...]) -> None:
        target, stop = download.target, download.stop
        data, manifest = self._manifests.bring(download)
        _check(manifest, target, self._board)
        self._note(target.manifest, manifest)
        try:
            installer = self._installer(target.group, manifest.install.installer, stop)
        except FailedError as error:
            # Another agent may have it: not the version's fault, but nothing that trying soon helps.
            self._answer(stop, target, d.StageFailed(target.manifest, str(error), bad=False))
            return
        versions = self._versions(target.group)
        previous = versions.current()
        with self._disk:
            installed = versions.intact(target)
        if installed is None:
            have = reusable(manifest, previous.manifest, previous.path) if previous else frozenset()
            blobs = needed_blobs(manifest, have)
            download.needs(sum(blob.size for blob in blobs))
            self._stock.make_room(manifest, blobs, self._root / target.group, (target, *others))
            if download.sharing is not None:
                download.sharing.begin(manifest.blobs)
                self._stock.relay.begin(target, manifest.blobs, download.sharing)
            fetched = fetch(
                blobs,
                download.sources,
                self._store,
                limits=self._limits,
                observer=download,
                stop=stop,
                sharing=download.sharing,
            )
            if not fetched.complete:
                return
            _log.info(
                "fetched",
                board=self._board.id,
                group=target.group,
                version=target.version,
                bytes=sum(fetched.bytes.values()),
                resumed=fetched.resumed,
                refetched=fetched.refetched,
                failovers=fetched.failovers,
                seconds=round(fetched.seconds, 3),
            )
            self._answer(stop, target, d.Fetched(target.manifest))
            base = (previous.manifest, previous.path) if previous else None
            with self._disk:
                installed = versions.add(
                    Version(target, manifest, data),
                    lambda destination: build_tree(manifest, self._store, destination, base),
                )
        self._stock.relay.staged(target)
        self._stock.collect(others)
        sync_file_system(self._store.root)  # else a power cut brings the removed blobs back, and nobody looks again
        try:
            installer.stage(installed)
        except (VetoError, InstallError) as error:
            self._answer(stop, target, d.StageFailed(target.manifest, str(error), error.log))
        else:
            self._answer(stop, target, d.StageSucceeded(target.manifest))

    def _activate(self, action: d.Activate, stop: threading.Event) -> None:
        target = action.target
        try:
            installed = self._need(target)
            self._installer_of(installed, stop).activate(installed, action.running)
        except VetoError as error:
            self._answer(stop, target, d.Vetoed(target.manifest, str(error), error.log))
        except (BoardwrightError, OSError) as error:
            bad = not isinstance(error, DiskError | OSError)
            self._answer(
                stop, target, d.ActivationFailed(target.manifest, sentence(error), getattr(error, "log", ""), bad=bad)
            )
        else:
            health = installed.manifest.health
            limit = (health.timeout if health else PROBE_DEFAULT) + installed.manifest.install.hook_timeout
            self._answer(stop, target, d.Activated(target.manifest, limit))

    def _probe(self, target: Target, stop: threading.Event) -> None:
        try:
            installed = self._need(target)
        except BoardwrightError as error:
            self._answer(stop, target, d.Unhealthy(target.manifest, sentence(error)))
            return
        own = program_variables(self._place(target.group, stop), installed, "") | {"BOARDWRIGHT_STEP": "health"}
        health = check_health(installed.manifest.health, installed.path, environment(self._environ, own), stop)
        if health.reason:
            self._answer(stop, target, d.Unhealthy(target.manifest, health.reason, health.log))
            return
        try:
            self._installer_of(installed, stop).confirm(installed)
        except (BoardwrightError, OSError) as error:
            self._answer(stop, target, d.Unhealthy(target.manifest, sentence(error), getattr(error, "log", "")))
        else:
            self._answer(stop, target, d.Healthy(target.manifest))

    def _roll_back(self, action: d.RollBack, stop: threading.Event) -> None:
        target = action.target
        try:
            to = self._need(action.to) if action.to is not None else None
            gone = self._find(target)
            if gone is not None and (to is None or gone.manifest.install.installer != to.manifest.install.installer):
                self._installer_of(gone, stop).roll_back(target, None)
            if to is not None:
                self._installer_of(to, stop).roll_back(target, to)
            elif gone is None:
                self._versions(target.group).use(None)
        except (BoardwrightError, OSError) as error:
            disk = isinstance(error, DiskError | OSError)
            self._answer(stop, target, d.RollBackFailed(target.manifest, sentence(error), disk=disk))
        else:
            self._answer(stop, target, d.RolledBack(target.manifest))

    def _confirm(self, action: d.Confirm) -> None:
        self._collect_versions(action)
        give_back()  # the deployment is over

    def _collect_versions(self, action: d.Confirm) -> None:
        group = action.running.group
        kept = (action.running, action.previous, self._coming.get(group))
        try:
            with self._disk:
                self._versions(group).collect(tuple(target for target in kept if target is not None))
        except OSError as error:
            # The version runs and stays; what could not be removed is removed by the next confirm.
            _log.warning("old versions could not be removed", group=group, error=sentence(error))

    def _discard(self, target: Target) -> None:
        if self._coming.get(target.group) == target:
            return  # it was asked for again meanwhile
        try:
            with self._disk:
                self._versions(target.group).discard(target)
        except OSError as error:
            _log.warning("a version could not be removed", group=target.group, error=sentence(error))

    def _tidy(self, others: tuple[Target, ...]) -> None:
        try:
            self._stock.collect(others)
        except OSError as error:
            _log.warning("the store could not be tidied", board=self._board.id, error=sentence(error))

    def _need(self, target: Target) -> Installed:
        installed = self._find(target)
        if installed is None:
            raise InstallError(f"{target.group} {target.version} is not complete on the disk")
        return installed

    def _find(self, target: Target) -> Installed | None:
        installed = self._versions(target.group).find(target)
        return self._remember(installed) if installed else None

    def _remember(self, installed: Installed) -> Installed:
        self._note(installed.target.manifest, installed.manifest)
        return installed

    def _note(self, digest: str, manifest: Manifest) -> None:
        install = manifest.install
        self._releases[digest] = Release(manifest.version, manifest.requires)
        programs = len(install.before) + len(install.after) + len(install.restart) + 1  # one: the installer's own step
        self._activation_limits[digest] = programs * install.hook_timeout

    def _installer_of(self, installed: Installed, stop: threading.Event) -> Installer:
        return self._installer(installed.target.group, installed.manifest.install.installer, stop)

    def _installer(self, group: str, name: str, stop: threading.Event) -> Installer:
        return make_installer(name, self._place(group, stop), self._installers)

    def _versions(self, group: str) -> Versions:
        return Versions(self._root / group)

    def _place(self, group: str, stop: threading.Event) -> Place:
        return Place(self._board.id, group, self._root / group, self._environ, stop)

    def _answer(self, stop: threading.Event, target: Target, event: Event) -> None:
        if not stop.is_set():
            self._post(target.group, event)


def _check(manifest: Manifest, target: Target, board: Board) -> None:
    if (manifest.group, manifest.version) != (target.group, target.version):
        raise MalformedError(
            f"the plan calls it {target.group} {target.version}, its manifest {manifest.group} {manifest.version}"
        )
    if not variant_fits(manifest.variant, board.type):
        raise MalformedError(
            f"{manifest.group} {manifest.version} is for board types {manifest.variant}, this board is {board.type!r}"
        )


def _unheard(group: str, event: Event) -> None:
    del group, event
