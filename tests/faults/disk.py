"""A shim between the code and its disk: everything that changes a directory tree is recorded, or made to fail.

Rules:

* While a ``Disk`` is installed, every call by which Python code changes files below its root goes through it: the
  functions of ``os``, files opened by ``open``, ``Path.open`` and ``os.fdopen``, and syncfs.
* One call is one step of the log, with its data. Calls are carried out one at a time, so the log has one order even if
  threads write.
* Nothing escapes: ``check`` compares what the log leads to with the tree that is really there.
* Syncs are recorded and not carried out: what they promise is what the crash states of ``crash.py`` are made of.
* ``fault`` is asked before each step and may raise the error that a full or broken disk would give.
"""

import builtins
import io
import os
import stat
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from boardwright.transfer import durable
from tests.faults.crash import ALL, Data, Entry, Image, Mode, Part, Size, Step, Sync, replay

_WRITES = os.O_WRONLY | os.O_RDWR
GROWS = frozenset({"open", "write", "pwrite", "copy_file_range", "sendfile", "mkdir", "symlink", "link", "rename"})

Fault = Callable[[str, str], BaseException | None]
Real = dict[str, Callable[..., Any]]
_PATCHED = (
    "open",
    "write",
    "pwrite",
    "ftruncate",
    "truncate",
    "copy_file_range",
    "sendfile",
    "rename",
    "replace",
    "link",
    "symlink",
    "unlink",
    "remove",
    "mkdir",
    "rmdir",
    "chmod",
    "fchmod",
    "fsync",
    "fdatasync",
)
# Nobody uses these; if somebody does, the shim must learn them.
_FORBIDDEN = ("pwritev", "writev", "posix_fallocate", "mkfifo", "mknod", "splice")


class Disk:
    """Records what happens below `root`, which may hold files already: those count as durable."""

    def __init__(self, root: Path) -> None:
        self.root = Path(os.path.realpath(root))
        self.base = Image.read(self.root)
        self.steps: list[Step] = []
        self.fault: Fault = lambda call, path: None
        self._now = self.base.copy()
        self._lock = threading.RLock()
        self._real: Real = {name: getattr(os, name) for name in (*_PATCHED, "readlink", "lseek", "pread")}

    @contextmanager
    def installed(self) -> Iterator["Disk"]:
        """Record until the end of the block."""
        with pytest.MonkeyPatch.context() as patch:
            for name in _PATCHED:
                patch.setattr(os, name, getattr(self, f"_{name}"))
            for name in _FORBIDDEN:
                patch.setattr(os, name, _unknown(name))
            patch.setattr(os, "fdopen", self._fdopen)
            patch.setattr(io, "open", self._io_open)
            patch.setattr(builtins, "open", self._io_open)
            patch.setattr(durable._libc, "syncfs", self._syncfs)
            yield self

    def check(self) -> None:
        """Fail unless the log leads to exactly the tree that is there."""
        found, told = Image.read(self.root).tree(), replay(self.base, self.steps).tree()
        assert found == told, f"the shim missed something: {sorted(set(found.items()) ^ set(told.items()))[:4]}"

    # --- what is where ---

    def _path(self, path: Any, dir_fd: int | None = None) -> str | None:
        """The path below the root, "" for the root itself, None if it lies elsewhere."""
        if isinstance(path, int):
            text = self._real["readlink"](f"/proc/self/fd/{path}")
        else:
            text = os.fspath(path)
            text = text.decode() if isinstance(text, bytes) else text
            if not text.startswith("/"):
                base = os.getcwd() if dir_fd is None else self._real["readlink"](f"/proc/self/fd/{dir_fd}")
                text = f"{base}/{text}"
        root = str(self.root)
        if text != root and not text.startswith(f"{root}/"):
            return None
        return os.path.normpath(text)[len(root) + 1 :]

    def _ask(self, call: str, path: str) -> None:
        error = self.fault(call, path)
        if error is not None:
            raise error

    def _note(self, what: str, *parts: Part) -> None:
        self.steps.append(Step(what, parts))
        for part in parts:
            self._now.apply(part)

    def _entry(self, path: str, node: int | None) -> Entry:
        parent, _, name = path.rpartition("/")
        return Entry(self._now.find(parent, missing=False), name, node)

    # --- names ---

    def _open(self, path: Any, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        with self._lock:
            place = self._path(path, dir_fd)
            if place is None or not flags & (_WRITES | os.O_CREAT | os.O_TRUNC):
                return int(self._real["open"](path, flags, mode, dir_fd=dir_fd))
            node = self._now.look(place)
            if flags & os.O_CREAT and node is None:
                self._ask("open", place)
            fd = int(self._real["open"](path, flags, mode, dir_fd=dir_fd))
            if node is None:
                node = self._now.new("file", stat.S_IMODE(os.fstat(fd).st_mode))
                self._note(f"create {place}", self._entry(place, node))
            elif flags & os.O_TRUNC and self._now.nodes[node].data:
                self._note(f"truncate {place} at open", Size(node, 0))
            return fd

    def _mkdir(self, path: Any, mode: int = 0o777, *, dir_fd: int | None = None) -> None:
        with self._lock:
            place = self._path(path, dir_fd)
            if place is not None:
                self._ask("mkdir", place)
            self._real["mkdir"](path, mode, dir_fd=dir_fd)
            if place is not None:
                made = stat.S_IMODE(os.stat(path, dir_fd=dir_fd).st_mode)
                self._note(f"mkdir {place}", self._entry(place, self._now.new("directory", made)))

    def _symlink(self, source: Any, target: Any, _directory: bool = False, *, dir_fd: int | None = None) -> None:
        with self._lock:
            place = self._path(target, dir_fd)
            if place is not None:
                self._ask("symlink", place)
            self._real["symlink"](source, target, dir_fd=dir_fd)
            if place is not None:
                node = self._now.new("link", 0o777, os.fsencode(source))
                self._note(f"symlink {place}", self._entry(place, node))

    def _link(
        self,
        source: Any,
        target: Any,
        *,
        src_dir_fd: int | None = None,
        dst_dir_fd: int | None = None,
        follow_symlinks: bool = True,
    ) -> None:
        with self._lock:
            old, place = self._path(source, src_dir_fd), self._path(target, dst_dir_fd)
            if place is not None:
                self._ask("link", place)
            self._real["link"](
                source, target, src_dir_fd=src_dir_fd, dst_dir_fd=dst_dir_fd, follow_symlinks=follow_symlinks
            )
            if place is not None:
                assert old is not None, f"{source} is linked in from elsewhere"
                self._note(f"link {old} {place}", self._entry(place, self._now.find(old)))

    def _rename(
        self, source: Any, target: Any, *, src_dir_fd: int | None = None, dst_dir_fd: int | None = None
    ) -> None:
        with self._lock:
            old, new = self._path(source, src_dir_fd), self._path(target, dst_dir_fd)
            if old is not None or new is not None:
                self._ask("rename", new or old or "")
            self._real["rename"](source, target, src_dir_fd=src_dir_fd, dst_dir_fd=dst_dir_fd)
            if old is None and new is None:
                return
            assert old is not None, f"{source} comes from elsewhere"
            assert new is not None, f"{target} lies elsewhere"
            if old == new:
                return
            add, drop = self._entry(new, self._now.find(old)), self._entry(old, None)
            if add.directory == drop.directory or self._now.nodes[self._now.find(old)].kind == "directory":
                drop = Entry(drop.directory, drop.name, None, also=add)
                self._note(f"rename {old} {new}", drop)
            else:  # two directories: each is durable by a sync of its own
                self._note(f"rename {old} {new}", add, drop)

    _replace = _rename

    def _unlink(self, path: Any, *, dir_fd: int | None = None) -> None:
        self._drop("unlink", path, dir_fd)

    _remove = _unlink

    def _rmdir(self, path: Any, *, dir_fd: int | None = None) -> None:
        self._drop("rmdir", path, dir_fd)

    def _drop(self, call: str, path: Any, dir_fd: int | None) -> None:
        with self._lock:
            place = self._path(path, dir_fd)
            if place is not None:
                self._ask(call, place)
            self._real[call](path, dir_fd=dir_fd)
            if place is not None:
                self._note(f"{call} {place}", self._entry(place, None))

    # --- bytes and modes ---

    def _wrote(self, call: str, fd: int, offset: int | None, data: Any, write: Callable[[Any], int]) -> int:
        with self._lock:
            place = self._path(fd) if stat.S_ISREG(os.fstat(fd).st_mode) else None
            node = self._now.look(place) if place is not None else None
            if node is None or place is None:
                return write(data)
            self._ask(call, place)
            start = self._real["lseek"](fd, 0, os.SEEK_CUR) if offset is None else offset
            count = write(data)
            kept = bytes(memoryview(data).cast("B")[:count])
            self._note(f"{call} {place} {start}+{count}", Data(node, start, kept))
            return count

    def _write(self, fd: int, data: Any) -> int:
        return self._wrote("write", fd, None, data, lambda some: int(self._real["write"](fd, some)))

    def _pwrite(self, fd: int, data: Any, offset: int) -> int:
        return self._wrote("pwrite", fd, offset, data, lambda some: int(self._real["pwrite"](fd, some, offset)))

    def _copy_file_range(
        self, source: int, target: int, count: int, offset_src: int | None = None, offset_dst: int | None = None
    ) -> int:
        assert offset_src is not None
        assert offset_dst is not None
        data = self._real["pread"](source, count, offset_src)
        return self._wrote(
            "copy_file_range",
            target,
            offset_dst,
            data,
            lambda some: int(self._real["copy_file_range"](source, target, len(some), offset_src, offset_dst)),
        )

    def _sendfile(self, out_fd: int, in_fd: int, offset: int, count: int) -> int:
        data = self._real["pread"](in_fd, count, offset)
        return self._wrote(
            "sendfile", out_fd, None, data, lambda some: int(self._real["sendfile"](out_fd, in_fd, offset, len(some)))
        )

    def _sized(self, call: str, path: Any, size: int) -> None:
        with self._lock:
            place = self._path(path)
            if place is not None:
                self._ask(call, place)
            self._real[call](path, size)
            if place is not None:
                self._note(f"{call} {place} {size}", Size(self._now.find(place), size))

    def _ftruncate(self, fd: int, size: int) -> None:
        self._sized("ftruncate", fd, size)

    def _truncate(self, path: Any, size: int) -> None:
        self._sized("truncate", path, size)

    def _chmod(self, path: Any, mode: int, *, dir_fd: int | None = None, follow_symlinks: bool = True) -> None:
        with self._lock:
            place = self._path(path, dir_fd)
            if place is not None:
                self._ask("chmod", place)
            self._real["chmod"](path, mode, dir_fd=dir_fd, follow_symlinks=follow_symlinks)
            if place is not None:
                self._note(f"chmod {place} {mode:o}", Mode(self._now.find(place), stat.S_IMODE(mode)))

    def _fchmod(self, fd: int, mode: int) -> None:
        with self._lock:
            place = self._path(fd)
            if place is not None:
                self._ask("fchmod", place)
            self._real["fchmod"](fd, mode)
            if place is not None:
                self._note(f"fchmod {place} {mode:o}", Mode(self._now.find(place), stat.S_IMODE(mode)))

    # --- syncs ---

    def _fsync(self, fd: int) -> None:
        with self._lock:
            place = self._path(fd)
            node = self._now.look(place) if place is not None else None
            if node is None or place is None:
                self._real["fsync"](fd)
                return
            self._ask("fsync", place)
            self._note(f"fsync {place or '.'}", Sync(node))

    _fdatasync = _fsync

    def _syncfs(self, fd: int) -> int:
        with self._lock:
            self._ask("syncfs", self._path(fd) or "")
            self._note("syncfs", Sync(ALL))
            return 0

    # --- file objects ---

    def _io_open(self, file: Any, mode: str = "r", buffering: int = -1, *rest: Any, **options: Any) -> Any:
        if isinstance(file, int) or not set(mode) & set("wax+") or options.get("opener") or self._path(file) is None:
            return _OPEN(file, mode, buffering, *rest, **options)
        flags = {"w": os.O_CREAT | os.O_TRUNC, "a": os.O_CREAT | os.O_APPEND, "x": os.O_CREAT | os.O_EXCL, "r": 0}
        kind = next(letter for letter in mode if letter in flags)
        access = os.O_RDWR if "+" in mode else os.O_WRONLY
        fd = self._open(file, flags[kind] | access | os.O_CLOEXEC, 0o666)
        return self._file(fd, mode.replace("x", "w"), *rest, **options)

    def _fdopen(self, fd: int, mode: str = "r", buffering: int = -1, *rest: Any, **options: Any) -> Any:
        if not set(mode) & set("wa+") or self._path(fd) is None:
            return _OPEN(fd, mode, buffering, *rest, **options)
        return self._file(fd, mode, *rest, **options)

    def _file(self, fd: int, mode: str, *rest: Any, **options: Any) -> Any:
        raw = _File(fd, "r+" if "+" in mode else "a" if "a" in mode else "w", self)
        buffered: Any = io.BufferedRandom(raw) if "+" in mode else io.BufferedWriter(raw)
        return buffered if "b" in mode else io.TextIOWrapper(buffered, *rest, **options)


class _File(io.FileIO):
    """A file whose writes go through the shim; opening by descriptor does not truncate, so that is noted before."""

    def __init__(self, fd: int, mode: str, disk: Disk) -> None:
        super().__init__(fd, mode)
        self._disk = disk

    def write(self, data: Any) -> int:
        return self._disk._write(self.fileno(), data)

    def truncate(self, size: int | None = None) -> int:
        size = self.tell() if size is None else size
        self._disk._ftruncate(self.fileno(), size)
        return size


_OPEN = io.open


def _unknown(name: str) -> Callable[..., Any]:
    def refuse(*_: Any, **__: Any) -> Any:
        raise AssertionError(f"os.{name} is not recorded: teach tests/faults/disk.py")

    return refuse
