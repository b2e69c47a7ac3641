"""What lies in a board's store beside what runs: downloads that go on, and what neighbours may still want.

Rules:

* The store is emptied of everything that no download of this board still needs, so that broken-off downloads do not
  fill the disk. What is on the relay's shelf stays until its time is over, or a download needs the space.
* The digests of the shelf are known without its manifests: those are not read again.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from boardwright.agent.manifests import Manifests
from boardwright.agent.room import check_room
from boardwright.model.software import BlobRef, Manifest, Target
from boardwright.transfer.sharing import Sharing
from boardwright.transfer.shelf import Shelf
from boardwright.transfer.space import NoSpaceError
from boardwright.transfer.store import BlobStore


class RelayPort(Protocol):
    """Who serves neighbours what is on the shelf; called from worker threads."""

    def begin(self, target: Target, blobs: Sequence[BlobRef], sharing: Sharing | None) -> None:
        """The download of `target`, with all these blobs, begins."""

    def staged(self, target: Target) -> None:
        """The version is complete."""

    def ended(self, target: Target) -> None:
        """The download is over, complete or not."""

    def drop_all_but(self, target: Target) -> None:
        """Space is needed: what is kept for neighbours alone is not kept."""


class NoRelay:
    """Where nobody is served."""

    def begin(self, target: Target, blobs: Sequence[BlobRef], sharing: Sharing | None) -> None:
        pass

    def staged(self, target: Target) -> None:
        pass

    def ended(self, target: Target) -> None:
        pass

    def drop_all_but(self, target: Target) -> None:
        pass


class Stock:
    """The store of one board; `quota` in bytes bounds it, 0: nothing does."""

    def __init__(self, store: BlobStore, manifests: Manifests, quota: int) -> None:
        self.store = store
        self.shelf = Shelf(store)
        self.relay: RelayPort = NoRelay()
        self._manifests = manifests
        self._quota = quota

    @property
    def empty(self) -> bool:
        """Whether there is nothing to collect."""
        return not (self.store.digests() or self.store.partial_digests())

    def make_room(self, manifest: Manifest, blobs: Sequence[BlobRef], root: Path, fetching: Sequence[Target]) -> None:
        """Collect, then raise NoSpaceError unless the first of `fetching` fits below `root`; `blobs` are needed."""
        self.collect(fetching)
        try:
            check_room(manifest, blobs, self.store, root)
            if not self._quota:
                return
        except NoSpaceError:
            pass
        self.relay.drop_all_but(fetching[0])
        self.collect(fetching)
        check_room(manifest, blobs, self.store, root)

    def collect(self, fetching: Sequence[Target]) -> None:
        """Drop every blob and manifest that none of `fetching` and no neighbour needs."""
        kept = self.shelf.digests()
        for target in fetching:
            known = self._manifests.read(target.manifest)
            if known is not None:
                kept.update(blob.sha256 for blob in known[1].blobs)
        for sha256 in (self.store.digests() | self.store.partial_digests()) - kept:
            self.store.remove(sha256)
        self._manifests.keep_only({target.manifest for target in fetching})
