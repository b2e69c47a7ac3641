"""What a disk may look like after a power cut: a model of inodes and directories, and the states it can be left in.

Rules (POSIX and nothing more; a journal that keeps more promises only makes fewer of these states possible):

* fsync of a file makes its bytes, size and mode durable, not its name; fsync of a directory its entries; syncfs
  everything before it.
* What is not durable may be there or not, each step by itself: names without bytes, bytes without names, sizes
  without bytes (zeros), entries that come back, the last write torn in the middle.
* A rename in one directory is atomic. Between two directories each half is durable by its own directory: the file may
  have both names, never none.
* A killed process loses nothing: that state is everything before it.
"""

import os
import random
import stat
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

ROOT = 0
ALL = -1  # a sync of the whole file system
NEVER = 1 << 60


@dataclass(frozen=True)
class Entry:
    """The name in a directory leads to `node`, or to nothing; `also` belongs to the same atomic step."""

    directory: int
    name: str
    node: int | None
    also: "Entry | None" = None


@dataclass(frozen=True)
class Data:
    node: int
    offset: int
    data: bytes


@dataclass(frozen=True)
class Size:
    node: int
    size: int


@dataclass(frozen=True)
class Mode:
    node: int
    mode: int


@dataclass(frozen=True)
class Sync:
    """Everything before that concerns `node` (or ALL) is durable."""

    node: int


Part = Entry | Data | Size | Mode | Sync


@dataclass(frozen=True)
class Step:
    """One system call: what it was, and its parts, which may become durable one by one."""

    what: str
    parts: tuple[Part, ...]


@dataclass
class Node:
    kind: str  # file, directory, link
    mode: int
    data: bytearray = field(default_factory=bytearray)  # a link's target, a file's bytes
    entries: dict[str, int] = field(default_factory=dict)

    def copy(self) -> "Node":
        return Node(self.kind, self.mode, bytearray(self.data), dict(self.entries))


Tree = dict[str, tuple[str, int, bytes]]


class Image:
    """A directory tree as inodes; number 0 is its root."""

    def __init__(self, nodes: dict[int, Node], made: dict[int, tuple[str, int, bytes]] | None = None) -> None:
        self.nodes = nodes
        self.made = {} if made is None else made  # inodes as they were born, shared by all copies

    @classmethod
    def read(cls, root: Path) -> "Image":
        """The tree at `root` as it is; hard links are one inode."""
        image, known = cls({}), dict[tuple[int, int], int]()

        def take(path: str) -> int:
            facts = os.lstat(path)
            key = (facts.st_dev, facts.st_ino)
            if key in known:
                return known[key]
            number = known[key] = len(image.nodes)
            node = image.nodes[number] = Node("file", stat.S_IMODE(facts.st_mode))
            if stat.S_ISLNK(facts.st_mode):
                node.kind, node.data = "link", bytearray(os.fsencode(os.readlink(path)))
            elif stat.S_ISDIR(facts.st_mode):
                node.kind = "directory"
                for name in sorted(os.listdir(path)):
                    node.entries[name] = take(f"{path}/{name}")
            else:
                node.data = bytearray(Path(path).read_bytes())
            return number

        take(str(root))
        return image

    def copy(self) -> "Image":
        return Image({number: node.copy() for number, node in self.nodes.items()}, self.made)

    def new(self, kind: str, mode: int, data: bytes = b"") -> int:
        """A new inode, without a name yet."""
        number = max(*self.nodes, *self.made) + 1 if self.made else len(self.nodes)
        self.made[number] = (kind, mode, data)
        self.nodes[number] = self._born(number)
        return number

    def look(self, path: str) -> int | None:
        """The inode at `path` below the root."""
        number: int | None = ROOT
        for name in path.split("/") if path else ():
            number = self.nodes[number].entries.get(name) if number is not None else None
        return number

    def find(self, path: str, *, missing: bool = True) -> int:
        number = self.look(path)
        assert number is not None, f"nothing known at {path!r}"
        return number

    def apply(self, part: Part) -> None:
        """Let one part of a step happen."""
        if isinstance(part, Sync):
            return
        if isinstance(part, Entry):
            entries = self._node(part.directory).entries
            if part.node is None:
                entries.pop(part.name, None)
            else:
                self._node(part.node)
                entries[part.name] = part.node
            if part.also is not None:
                self.apply(part.also)
            return
        node = self._node(part.node)
        if isinstance(part, Data):
            end = part.offset + len(part.data)
            node.data.extend(bytes(max(0, end - len(node.data))))
            node.data[part.offset : end] = part.data
        elif isinstance(part, Size):
            node.data.extend(bytes(max(0, part.size - len(node.data))))
            del node.data[part.size :]
        else:
            node.mode = part.mode

    def tree(self) -> Tree:
        """Every path with kind, mode and bytes."""
        found: Tree = {}

        def walk(number: int, path: str, above: tuple[int, ...]) -> None:
            node = self.nodes[number]
            found[path] = (node.kind, node.mode, bytes(node.data))
            assert number not in above, f"{path} contains itself"
            for name, child in node.entries.items():
                walk(child, f"{path}/{name}" if path else name, (*above, number))

        walk(ROOT, "", ())
        return found

    def key(self) -> int:
        """Equal for equal trees with equal hard links."""
        names: dict[int, str] = {}
        found: list[tuple[str, str, int, bytes]] = []

        def walk(number: int, path: str) -> None:
            node = self.nodes[number]
            if number in names:
                found.append((path, names[number], 0, b""))
                return
            names[number] = path
            found.append((path, node.kind, node.mode, bytes(node.data)))
            for name in sorted(node.entries):
                walk(node.entries[name], f"{path}/{name}")

        walk(ROOT, "")
        return hash(tuple(found))

    def write(self, root: Path) -> None:
        """Make the empty or missing directory `root` this tree."""
        names: dict[int, str] = {}
        modes: list[tuple[str, int]] = []

        def put(number: int, path: str) -> None:
            node = self.nodes[number]
            if node.kind == "link":
                os.symlink(os.fsdecode(bytes(node.data)), path)
            elif node.kind == "directory":
                os.makedirs(path, exist_ok=True)
                for name, child in node.entries.items():
                    put(child, f"{path}/{name}")
                modes.append((path, node.mode))
            elif number in names:
                os.link(names[number], path)
            else:
                names[number] = path
                fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
                os.write(fd, node.data)
                os.fchmod(fd, node.mode)
                os.close(fd)

        put(ROOT, str(root))
        for path, mode in modes:
            os.chmod(path, mode)

    def _node(self, number: int) -> Node:
        if number not in self.nodes:
            self.nodes[number] = self._born(number)
        return self.nodes[number]

    def _born(self, number: int) -> Node:
        kind, mode, data = self.made[number]
        return Node(kind, mode, bytearray(data))


def replay(base: Image, steps: Sequence[Step]) -> Image:
    """What `base` has become after all of `steps`."""
    image = base.copy()
    image.made = base.made
    for step in steps:
        for part in step.parts:
            image.apply(part)
    return image


@dataclass(frozen=True)
class Crash:
    """One state: after `point` steps, in the way `kind`; `power`: the machine starts anew, not only the process."""

    point: int
    kind: str
    power: bool
    image: Image


Choose = Callable[[int, Part, bool], Part | None]  # step, part, whether it is durable -> what is left of it


class Crashes:
    """All states in which `steps` on `base` can leave the disk, equal ones once."""

    def __init__(self, base: Image, steps: Sequence[Step], *, subsets: int = 2, seed: int = 1) -> None:
        self.base, self.steps, self.subsets = base, steps, subsets
        self._random = random.Random(seed)
        self._durable = list(_durable_from(steps))
        self.since = 0  # the first point

    @property
    def points(self) -> int:
        """How many moments there are."""
        return len(self.steps) + 1 - self.since

    def __iter__(self) -> Iterator[Crash]:
        seen: set[tuple[bool, int]] = set()
        for point in range(self.since, len(self.steps) + 1):
            for kind, power, choose in self._kinds(point):
                image = self._left(point, choose)
                key = (power, image.key())
                if key not in seen:
                    seen.add(key)
                    yield Crash(point, kind, power, image)

    def _kinds(self, point: int) -> Iterator[tuple[str, bool, Choose]]:
        yield "killed", False, _everything
        yield "power cut, all had reached the disk", True, _everything
        yield "power cut, only what was synced", True, _durable_only
        yield "power cut, names and sizes without bytes", True, _sizes
        yield "power cut, names of empty files", True, _names
        yield "power cut, bytes without names", True, _bytes
        last = point - 1
        if point and any(isinstance(part, Data) for part in self.steps[last].parts):
            yield "power cut, last write torn", True, lambda step, part, durable: _torn(part) if step == last else part
        for number in range(self.subsets):
            yield f"power cut, some of it ({number})", True, self._some()
            yield f"power cut, names in order, some bytes ({number})", True, self._in_order(point)

    def _some(self) -> Choose:
        return lambda step, part, durable: part if durable or self._random.random() < 0.5 else None

    def _in_order(self, point: int) -> Choose:
        """As a journal of metadata leaves it."""
        until = self._random.randint(0, point)

        def choose(step: int, part: Part, durable: bool) -> Part | None:
            if durable or (isinstance(part, Entry | Mode) and step < until):
                return part
            return part if isinstance(part, Data | Size) and self._random.random() < 0.5 else None

        return choose

    def _left(self, point: int, choose: Choose) -> Image:
        image = self.base.copy()
        for number in range(point):
            for part, durable_from in zip(self.steps[number].parts, self._durable[number], strict=True):
                left = choose(number, part, durable_from <= point)
                if left is not None:
                    image.apply(left)
        return image


def _durable_from(steps: Sequence[Step]) -> Iterator[tuple[int, ...]]:
    """For every part the point from which on it is durable."""
    syncs = [(at, part.node) for at, step in enumerate(steps) for part in step.parts if isinstance(part, Sync)]

    def first(at: int, node: int) -> int:
        return next((sync + 1 for sync, synced in syncs if sync > at and synced in (node, ALL)), NEVER)

    def domain(at: int, part: Part) -> int:
        if isinstance(part, Sync):
            return 0
        if isinstance(part, Entry):
            own = first(at, part.directory)
            return own if part.also is None else max(own, first(at, part.also.directory))
        return first(at, part.node)

    for at, step in enumerate(steps):
        yield tuple(domain(at, part) for part in step.parts)


def _everything(step: int, part: Part, durable: bool) -> Part | None:
    del step, durable
    return part


def _durable_only(step: int, part: Part, durable: bool) -> Part | None:
    del step
    return part if durable else None


def _sizes(step: int, part: Part, durable: bool) -> Part | None:
    del step
    if durable or not isinstance(part, Data):
        return part
    return Data(part.node, part.offset, bytes(len(part.data)))


def _names(step: int, part: Part, durable: bool) -> Part | None:
    del step
    return part if durable or isinstance(part, Entry) else None


def _bytes(step: int, part: Part, durable: bool) -> Part | None:
    del step
    return part if durable or not isinstance(part, Entry) else None


def _torn(part: Part) -> Part | None:
    if not isinstance(part, Data):
        return part
    return Data(part.node, part.offset, part.data[: len(part.data) // 2])
