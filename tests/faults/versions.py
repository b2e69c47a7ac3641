"""Small versions with everything in them that a tree can have, for tests that write and check thousands of trees."""

import stat
from collections.abc import Mapping
from pathlib import Path

from boardwright.model.software import (
    SCHEMA,
    BlobRef,
    DirectoryEntry,
    FileEntry,
    InstallSpec,
    Manifest,
    Target,
    digest_of,
    encode_manifest,
)

PIECE = 4096  # bytes of a piece in these tests (see `small_pieces`), so that three pieces are a small file
GROUP = "platform"
Tree = dict[str, tuple[str, int, bytes]]


class Made:
    """Version `version`: `own` are files with a blob of their own, `packed` share one, `links` are symbolic."""

    def __init__(
        self,
        version: str,
        own: Mapping[str, bytes],
        packed: Mapping[str, bytes],
        *,
        links: Mapping[str, str] = {},
        install: InstallSpec | None = None,
        group: str = GROUP,
    ) -> None:
        self.version = version
        self.blobs: dict[str, bytes] = {}
        refs: list[BlobRef] = []
        files: list[FileEntry] = []
        pack = b"".join(packed.values())
        for data in (*own.values(), *([pack] if pack else ())):
            if digest_of(data) not in self.blobs:
                refs.append(_ref(data))
                self.blobs[refs[-1].sha256] = data
        index = {ref.sha256: number for number, ref in enumerate(refs)}
        for path, data in own.items():
            files.append(FileEntry(path, 0o755, len(data), digest_of(data), blob=index[digest_of(data)]))
        at = 0
        for path, data in packed.items():
            files.append(FileEntry(path, 0o640, len(data), digest_of(data), blob=index[digest_of(pack)], offset=at))
            at += len(data)
        files.append(FileEntry("etc/empty", 0o600, 0, digest_of(b"")))
        files.extend(FileEntry(path, 0o777, link=link) for path, link in links.items())
        manifest = Manifest(
            schema=SCHEMA,
            group=group,
            version=version,
            files=tuple(sorted(files, key=lambda entry: entry.path)),
            directories=(DirectoryEntry("etc", 0o750), DirectoryEntry("spool", 0o1770)),
            blobs=tuple(refs),
            install=install or InstallSpec(),
        )
        data = encode_manifest(manifest)
        self.manifest = manifest
        self.target = Target(group, version, "*", digest_of(data))
        self.blobs[self.target.manifest] = data
        self.tree = self._tree()

    def _tree(self) -> Tree:
        """What a directory with this version must look like."""
        found: Tree = {entry.path: ("directory", entry.mode, b"") for entry in self.manifest.directories}
        for entry in self.manifest.files:
            for parent in [str(one) for one in Path(entry.path).parents][:-1]:
                found.setdefault(parent, ("directory", 0o755, b""))
            if entry.link is not None:
                found[entry.path] = ("link", 0o777, entry.link.encode())
            elif entry.blob < 0:
                found[entry.path] = ("file", entry.mode, b"")
            else:
                data = self.blobs[self.manifest.blobs[entry.blob].sha256]
                found[entry.path] = ("file", entry.mode, data[entry.offset : entry.offset + entry.size])
        return found


def tree_at(root: Path) -> Tree:
    """The tree that is really at `root`, every byte of it."""
    found: Tree = {}
    for path in sorted(root.rglob("*")):
        facts = path.lstat()
        name, mode = str(path.relative_to(root)), stat.S_IMODE(facts.st_mode)
        if stat.S_ISLNK(facts.st_mode):
            found[name] = ("link", 0o777, str(path.readlink()).encode())
        elif stat.S_ISDIR(facts.st_mode):
            found[name] = ("directory", mode, b"")
        else:
            found[name] = ("file", mode, path.read_bytes())
    return found


def _ref(data: bytes) -> BlobRef:
    pieces = b"".join(bytes.fromhex(digest_of(data[at : at + PIECE])) for at in range(0, len(data), PIECE))
    return BlobRef(digest_of(data), len(data), pieces)


def _bytes(seed: int, count: int) -> bytes:
    return b"".join(digest_of(f"{seed}-{number}".encode()).encode() for number in range(count // 64 + 1))[:count]


_SHARED = _bytes(0, 1500)


def version(name: str, *, install: InstallSpec | None = None) -> Made:
    """A blob of three pieces, a file that all versions share, its twin, small files of a pack, a link."""
    seed = int(name)
    return Made(
        name,
        {"bin/big": _bytes(seed, 2 * PIECE + 300), "lib/shared": _SHARED, "lib/twin": _SHARED},
        {"etc/name": name.encode() * 20, "etc/same": b"unchanged\n"},
        links={"bin/link": "../lib/shared"},
        install=install or InstallSpec(before=("bin/big",), after=("bin/big",)),
    )
