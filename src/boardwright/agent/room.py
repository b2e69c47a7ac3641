"""Whether a version fits onto this board, asked before its first byte: the disk of the store and that of the tree.

The store (downloads) and the tree (what runs) may lie on different file systems; each must have room, beside its
reserve, for what it will get. On the same one a file that fills its blob is linked and counts once.
"""

from collections.abc import Sequence
from pathlib import Path

from boardwright.model.software import BlobRef, Manifest
from boardwright.transfer.space import Space
from boardwright.transfer.store import BlobStore
from boardwright.transfer.tree import bytes_to_build


def check_room(manifest: Manifest, needed: Sequence[BlobRef], store: BlobStore, root: Path) -> None:
    """Raise NoSpaceError unless the `needed` blobs fit into `store` and the version's tree below `root`."""
    name = f"{manifest.group} {manifest.version}"
    place = root
    while not place.exists():
        place = place.parent
    links = place.stat().st_dev == store.root.stat().st_dev
    lacking, building = store.lacking(needed), bytes_to_build(manifest, needed, links=links)
    store.space.check(lacking + building if links else lacking, name)
    if not links:
        Space(place).check(building, f"the tree of {name}")
